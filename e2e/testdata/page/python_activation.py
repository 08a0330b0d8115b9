# Deactivate
client.webhook_triggers.update(
trigger_id="trigger-id",
is_active=False
)
# Reactivate
client.webhook_triggers.update(
trigger_id="trigger-id",
is_active=True
)
