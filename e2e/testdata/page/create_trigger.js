const trigger = await client.webhookTriggers.create({
agentId: 'your-agent-id',
name: 'GitHub PR Review',
generateSecret: true,
})
console.log(`Token: ${trigger.data.token}`)
console.log(`Secret: ${trigger.data.secret}`)
