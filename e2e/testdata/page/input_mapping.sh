# If the agent expects {"message": string, "priority": string}
curl -X POST https://api.promptrails.ai/api/v1/webhook/trigger \
-H "Authorization: Bearer wht_abc123..." \
-H "Content-Type: application/json" \
-d '{
"message": "Server CPU usage exceeded 90%",
"priority": "high"
}'
