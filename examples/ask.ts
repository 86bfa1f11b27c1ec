/**
 * The least of an agent: it has a person sign in and lend it something, then asks for them. For a service of
 * yours, by a client that you registered, whose NAME.key.json lies here (docs/containers.md):
 *
 *     export PUBLIC_URL=https://remit.example.com
 *     npm run -s example -- ask helper-app anne "Where was the otter seen?"
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { clientKey, createProofKey, createRemit, deviceFlow } from '@remit/client'

const { PORT = '8787', PUBLIC_URL: url = `http://localhost:${PORT}` } = process.env
const [, , clientId = '', subject = '', query = ''] = process.argv
assert(query, 'Name the client, the person and a question: ask helper-app anne "Where was the otter seen?"')

const token = deviceFlow({
  issuer: `${url}/oauth`,
  clientId,
  key: await clientKey(await readFile(`${clientId}.key.json`, 'utf8')),
  proofKey: await createProofKey(),
  onSignIn: ({ data }) => console.error(`Open ${data.verificationUri} and enter ${data.userCode}`),
})
// Until they have signed in, the call waits.
const timeoutMs = 600_000
const { results } = await createRemit({ url, token, timeoutMs })
  .for({ subject })
  .retrieve({ query, top_k: 3 })
for (const { document_id: id, text } of results) console.log(`${id}: ${text}`)
if (results.length === 0) console.log('Nothing that they may read and lent answers it.')
