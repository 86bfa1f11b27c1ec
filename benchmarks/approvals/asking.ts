import { asked, documentId, type Target } from './target.ts'

/** The agent is offered the document and asks for it; `decide` is the person's yes. */
export async function ask(target: Omit<Target, typeof Symbol.asyncDispose>, agent: string) {
  const { agentUrl, personUrl } = target
  const agentHeaders = {
    authorization: `Bearer ${await target.agentToken(agent)}`,
    'content-type': 'application/json',
  }
  const question = { query: 'plan of the board', mode: 'keyword' }
  const found = (await asked(`${agentUrl}/retrieve`, {
    method: 'POST',
    headers: agentHeaders,
    body: JSON.stringify(question),
  })) as { readonly results: readonly unknown[]; readonly approval?: { readonly offer_id: string } }
  if (found.results.length > 0 || found.approval === undefined) throw new Error('Nothing was offered.')
  const { id } = (await asked(`${agentUrl}/approvals`, {
    method: 'POST',
    headers: agentHeaders,
    body: JSON.stringify({
      authorization_details: [{ type: 'document_access', offer: found.approval.offer_id }],
      purpose: 'bench',
    }),
  })) as { readonly id: string }
  const headers = await target.browser()
  const { approval } = (await asked(`${personUrl}/approvals/${id}`, { headers })) as {
    readonly approval: { readonly digest: string }
  }
  const decide = () =>
    asked(`${personUrl}/approvals/${id}/decision`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ decision: 'approve', digest: approval.digest }),
    })
  return { question, id, decide }
}

/** The grant that the yes makes. */
export async function wait(
  target: Pick<Target, 'agentUrl' | 'agentToken'>,
  agent: string,
  id: string,
): Promise<string> {
  const { state, grant_id: grant } = (await asked(`${target.agentUrl}/approvals/${id}`, {
    headers: { authorization: `Bearer ${await target.agentToken(agent)}`, prefer: 'wait=30' },
  })) as { readonly state: string; readonly grant_id?: string }
  if (state !== 'approved' || grant === undefined) throw new Error(`It is ${state}.`)
  return grant
}

/** 1 where the document was released, 0 where nothing was. */
export async function use(
  { agentUrl }: Pick<Target, 'agentUrl'>,
  token: string,
  { question, grant }: { readonly question: object; readonly grant: string },
): Promise<number> {
  const { results } = (await asked(`${agentUrl}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...question, approval: grant }),
  })) as { readonly results: readonly { readonly document_id: string }[] }
  return results.filter(({ document_id }) => document_id === documentId).length > 0 ? 1 : 0
}
