triggers = client.webhook_triggers.list()
for trigger in triggers["data"]:
    status = "active" if trigger["is_active"] else "inactive"
    print(f"{trigger['name']} ({status}) - Agent: {trigger['agent_id']}")
    print(f" Token prefix: {trigger['token_prefix']}...")
    print(f" Has secret: {trigger['has_secret']}")
    print(f" Last used: {trigger.get('last_used_at', 'Never')}")
