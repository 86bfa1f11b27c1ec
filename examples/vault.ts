/**
 * An agent works with an account that its person has at a third party, and never holds a token for it. It is
 * told to have the account linked, reads what the person agreed to, and has every write approved. Needs a
 * provider in VAULT_PROVIDERS and the demo running:
 *
 *     TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) CONNECTION=github \
 *       READ=/user/repos WRITE=/repos/OWNER/NAME/issues npm run -s example -- vault
 */
import assert from 'node:assert/strict'
import { createRemit, isRemitError, staticToken, withConnection } from '@remit/client'

const {
  PORT = '8787',
  PUBLIC_URL: url = `http://localhost:${PORT}`,
  PERSON = 'anne',
  TOKEN = '',
  CONNECTION: connection = 'github',
  READ = '/user/repos',
  WRITE = '/repos/OWNER/NAME/issues',
} = process.env
assert(TOKEN, 'TOKEN is missing: TOKEN=$(npm run -s remit -- token --user anne --agent research-bot)')

const remit = createRemit({ url, token: staticToken({ subject: PERSON, token: TOKEN }) })
const session = remit.for({ subject: PERSON })

const read = withConnection(
  {
    connection,
    mode: 'block',
    onConnect: ({ data }) => console.log(`Link your account: ${data.connectUrl}`),
  },
  (path: string, vault) => vault.fetch(path),
)

const report = withConnection(
  {
    connection,
    // What the person did not agree to is thrown: `block` and `purpose` would have them asked and waited for.
    mode: 'interrupt',
  },
  (title: string, vault) =>
    vault.fetch(WRITE, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ title }),
    }),
)

// 1. Not linked: the person links it, on a page of Remit's and at the provider. Then the reading goes
// through.
const reading = await read(READ, session)
assert(reading.ok, `The provider says ${reading.status}.`)
console.log(`Read ${READ}: ${reading.status}`)

// 2. A write needs their yes to exactly this call.
const refused: unknown = await report('An otter', session).catch((error: unknown) => error)
assert(isRemitError(refused, 'approval_required'), String(refused))
const { id } = await session.approvals.request({
  authorization_details: refused.data.authorizationDetails,
  purpose: 'To file what you saw.',
})
console.log(`Asked: ${id}. To answer: ${url}/approvals`)
const { grant_id: approval } = await session.approvals.wait(id)
assert(approval)

// 3. Another call is not what they agreed to; this one is, once.
await assert.rejects(report('A hundred otters', session, { approval }), { code: 'approval_required' })
const written = await report('An otter', session, { approval })
console.log(`Wrote ${WRITE}: ${written.status}`)
await assert.rejects(report('An otter', session, { approval }), { code: 'approval_required' })
console.log('Once, and nothing else.')
