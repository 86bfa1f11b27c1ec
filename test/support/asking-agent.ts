/**
 * An agent's program, in a process of its own: asks the service, is offered an approval, asks its person and
 * waits for the answer, answers what they ask back, then asks the service twice with what they agreed to.
 * Says each step as a line of JSON. REMIT_URL, TOKEN, QUERY.
 */
const { REMIT_URL: url = '', TOKEN: token = '', QUERY: query = '' } = process.env

interface Body {
  readonly id: string
  readonly state: string
  readonly question?: string
  readonly grant_id?: string
  readonly approval?: { readonly offer_id: string }
  readonly results: readonly { readonly document_id: string }[]
}

async function send(method: string, path: string, body?: object): Promise<Body> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait=30' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
  return JSON.parse(text) as Body
}

const say = (step: string, what: unknown): void => console.log(JSON.stringify({ step, what, at: Date.now() }))
const read = async (more: object = {}): Promise<Body> => send('POST', '/retrieve', { query, ...more })
const ids = ({ results }: Body): string[] => results.map(({ document_id }) => document_id).sort()

let first = await read()
// What is found late is not offered.
for (let tries = 0; tries < 20 && first.approval === undefined; tries += 1) first = await read()
say('first', ids(first))
const asked = await send('POST', '/approvals', {
  authorization_details: [{ type: 'document_access', offer: first.approval?.offer_id }],
  purpose: 'You asked me to compare what the board decided on the budget since May.',
})
say('asked', asked.id)
let now = asked
while (now.state === 'pending' || now.state === 'info_requested') {
  if (now.state === 'info_requested') {
    say('question', now.question)
    now = await send('POST', `/approvals/${asked.id}/answers`, {
      text: 'The three sets of minutes since May. I quote the decisions and nothing else.',
    })
  }
  now = await send('GET', `/approvals/${asked.id}`)
}
say('decided', now.state)
say('once', ids(await read({ approval: now.grant_id })))
say('twice', ids(await read({ approval: now.grant_id })))
