/**
 * An approval, by REST alone: an agent learns that there is more, asks for it, waits until the person has
 * answered on their own page, and reads it once. With the demo running:
 *
 *     TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) \
 *       npm run -s example -- approval "What was said about the Kestel settlement?"
 */
import assert from 'node:assert/strict'

const { PORT = '8787', PUBLIC_URL: api = `http://localhost:${PORT}`, TOKEN = '' } = process.env
const query = process.argv[2] ?? 'What was said about the Kestel settlement?'
assert(TOKEN, 'TOKEN is missing: TOKEN=$(npm run -s remit -- token --user anne --agent research-bot)')

interface Answer {
  readonly results: readonly { readonly document_id: string }[]
  readonly approval?: { readonly offer_id: string }
}

interface Approval {
  readonly id: string
  readonly state: 'pending' | 'info_requested' | 'approved' | 'denied' | 'expired'
  readonly grant_id?: string
}

async function call<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(`${api}${path}`, {
    method,
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', prefer: 'wait=30' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  return (await response.json()) as T
}

const documents = ({ results }: Answer) => results.map(({ document_id }) => document_id)

// 1. What was lent answers, and one bit says that there is more: not what, not how much.
const question = { query, top_k: 10 }
const first = await call<Answer>('POST', '/retrieve', question)
assert(first.approval, 'There is nothing more to ask this person for.')

// 2. The agent asks. The person sees its words as its own, and beside them what would be released.
const asked = await call<Approval>('POST', '/approvals', {
  authorization_details: [{ type: 'document_access', offer: first.approval.offer_id }],
  purpose: 'To answer what you asked me.',
})
console.log(`Asked: ${asked.id}. To answer: ${api}/approvals`)

// 3. It waits. Nothing that it can send decides this.
let approval = asked
while (approval.state === 'pending') approval = await call<Approval>('GET', `/approvals/${asked.id}`)
assert(approval.state === 'approved', `Nothing is released: the question is ${approval.state}.`)

// 4. The grant is for this question, once.
const granted = { ...question, approval: approval.grant_id }
const released = documents(await call<Answer>('POST', '/retrieve', granted))
const more = released.filter((id) => !documents(first).includes(id))
assert.notEqual(more.length, 0)
console.log(`Released, for this answer: ${[...new Set(more)].join(', ')}`)
assert.deepEqual(documents(await call<Answer>('POST', '/retrieve', granted)), documents(first))
console.log('Asked again: no longer.')
