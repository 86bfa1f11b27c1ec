/**
 * What an operator does once, by the commands of `npm run remit`: a collection and the service that writes to
 * it, two people, the agent and its client, the broker as an API. Then the service sends the analysts' notes
 * in, by the same route and with the same rights as any other. May run again after it died half way.
 */
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exportJWK, generateKeyPair } from 'jose'
import { parse } from 'yaml'
import { createAdminClient } from '../../src/cli/admin-client.ts'
import { createDemoTokens } from '../../src/cli/demo-tokens.ts'
import { agent, clientId, people, placesOf } from './places.ts'

const places = placesOf(process.env)
const { home, url } = places
// The broker is registered by its address, and its port may be another one next time.
const done = join(places.folder, `set-up-${places.ports.remit}`)
const admin = createAdminClient({ home })
const names = {
  anne: 'Anne Kerrigan, portfolio desk',
  bob: 'Bob Achterberg, portfolio desk',
  rosa: 'Rosa Lind, analyst',
}

async function register(): Promise<void> {
  await admin.run('collection_add', { id: 'research', title: 'Analyst notes' })
  await admin.run('service_add', { name: 'notes-desk', collections: ['research'] })
  for (const [key, name] of Object.entries(names)) await admin.run('person_add', { key, name })
  await admin.run('agent_add', {
    id: agent,
    title: 'Trading assistant',
    owner: 'user:rosa',
    purpose: 'Answers from analyst notes, looks up prices, and buys shares when you say so.',
    scopes: ['docs.search', 'docs.read', 'approvals.request', 'vault.use', 'orders.place'],
    collections: ['research'],
  })
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const named = { kid: 'assistant-1', alg: 'ES256' }
  await admin.run('client_add', {
    client_id: clientId,
    kind: 'agent',
    of: agent,
    title: 'Assistant in your terminal',
    jwks: { keys: [{ ...(await exportJWK(publicKey)), ...named }] },
  })
  await writeFile(places.key, JSON.stringify({ ...(await exportJWK(privateKey)), ...named }), { mode: 0o600 })
  await admin.run('resource_add', {
    resource: places.broker,
    scopes: ['orders.place'],
    authorization_details_types: ['trade_order'],
    allowed_clients: [clientId],
    // Play money: no passkey has to be made before the first order.
    takes_verification: false,
  })
}

async function sendNotes(): Promise<void> {
  const token = await createDemoTokens({ admin, home, fetch }).service({ service: 'notes-desk' })
  const folder = new URL('notes/', import.meta.url)
  for (const file of (await readdir(folder)).sort()) {
    const [, head = '', text = ''] =
      /^---\n([\s\S]*?)\n---\n([\s\S]*)$/.exec(await readFile(new URL(file, folder), 'utf8')) ?? []
    const { title, ...access } = parse(head) as { readonly title: string }
    const id = `research/${file}`
    const response = await fetch(`${url}/documents/${encodeURIComponent(id)}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait' },
      body: JSON.stringify({ id, collection: 'research', title, text, mime_type: 'text/markdown', access }),
    })
    if (response.status !== 200) throw new Error(`${id} was not taken: ${await response.text()}`)
  }
}

async function givePasswords(): Promise<void> {
  const lines: string[] = []
  for (const user of people) {
    const { password } = await admin.run('password', { user })
    lines.push(`${user}  ${String(password)}\n`)
  }
  await writeFile(places.passwords, lines.join(''), { mode: 0o600 })
}

if (!existsSync(done)) {
  await register()
  await sendNotes()
  await givePasswords()
  await writeFile(done, 'yes\n')
}
