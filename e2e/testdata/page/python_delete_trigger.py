client.webhook_triggers.delete(trigger_id="trigger-id")
