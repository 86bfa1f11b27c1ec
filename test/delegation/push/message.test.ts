import { createECDH, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createMessages, vapidKeyOf } from '../../../src/delegation/notify/message.ts'

const browser = () => {
  const curve = createECDH('prime256v1')
  curve.generateKeys()
  return {
    endpoint: 'https://push.example/send/1',
    p256dh: curve.getPublicKey('base64url'),
    auth: randomBytes(16).toString('base64url'),
  }
}

test('every process with the same secret signs with the same key, another deployment with another one', () => {
  const secret = randomBytes(32)
  const key = vapidKeyOf(secret)
  expect(vapidKeyOf(Buffer.from(secret))).toEqual(key)
  expect(vapidKeyOf(randomBytes(32))).not.toEqual(key)
  const curve = createECDH('prime256v1')
  curve.setPrivateKey(key.privateKey, 'base64url')
  expect(curve.getPublicKey('base64url')).toBe(key.publicKey)
})

test('keys are whole, whatever the secret: 32 and 65 bytes', () => {
  for (let time = 0; time < 300; time += 1) {
    const { publicKey, privateKey } = vapidKeyOf(randomBytes(32))
    expect(Buffer.from(privateKey, 'base64url')).toHaveLength(32)
    expect(Buffer.from(publicKey, 'base64url')).toHaveLength(65)
  }
})

test('two messages to one browser have nothing in common but their length', () => {
  const messageFor = createMessages({ key: vapidKeyOf(randomBytes(32)), contact: 'mailto:a@b.test' })
  const to = browser()
  const [one, other] = [messageFor(to, 60), messageFor(to, 60)]
  expect(Buffer.from(one.body).equals(Buffer.from(other.body))).toBe(false)
  expect(one.body.length).toBe(other.body.length)
  expect(messageFor(browser(), 60).body.length).toBe(one.body.length)
})

test('says how long it is worth delivering, that it is urgent, and which one it replaces; leaves the length to the fetcher', () => {
  const messageFor = createMessages({ key: vapidKeyOf(randomBytes(32)), contact: 'mailto:a@b.test' })
  const { headers } = messageFor(browser(), 77)
  expect(headers).toMatchObject({ TTL: '77', Urgency: 'high', Topic: 'approvals' })
  expect(Object.keys(headers).map((name) => name.toLowerCase())).not.toContain('content-length')
})
