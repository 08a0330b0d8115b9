curl -X POST https://api.promptrails.ai/api/v1/webhook/trigger \
-H "Authorization: Bearer wht_abc123..." \
-H "Content-Type: application/json" \
-d '{"message": "Review this PR", "pr_number": 42}'
