trigger = client.webhook_triggers.create(
agent_id="your-agent-id",
name="GitHub PR Review",
generate_secret=True # Generate HMAC signing secret
)
print(f"Trigger ID: {trigger['data']['id']}")
print(f"Token: {trigger['data']['token']}") # Only shown once
print(f"Secret: {trigger['data']['secret']}") # Only shown once (if generated)
