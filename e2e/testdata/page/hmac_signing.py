import hmac
import hashlib
import json
import requests
payload = json.dumps({"message": "Hello"})
signature = hmac.new(
secret.encode(),
payload.encode(),
hashlib.sha256
).hexdigest()
response = requests.post(
"https://api.promptrails.ai/api/v1/webhook/trigger",
headers={
"Authorization": "Bearer wht_abc123...",
"X-Webhook-Signature": f"sha256={signature}",
"Content-Type": "application/json"
},
data=payload
)
