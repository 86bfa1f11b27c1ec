import type { World } from '../support/world.ts'
import type { NotedQuestion } from './noted.ts'

/** Who asks what of a version that is frozen. */
export const questions: readonly Omit<NotedQuestion, 'passages'>[] = [
  ...['anne', 'bob', 'carol', 'dan'].map((user) => ({ user, query: 'the plan of travel' })),
  { user: 'anne', query: 'the wiki' },
  { user: 'bob', query: 'the wiki' },
  { user: 'anne', agent: 'research-bot', query: 'the plan of travel' },
  { user: 'bob', agent: 'other-bot', query: 'the plan of travel' },
]

/** Each of them, answered now. */
export async function askAll(
  world: Pick<World, 'token' | 'retrieve'>,
  asked: readonly Omit<NotedQuestion, 'passages'>[],
): Promise<NotedQuestion[]> {
  const answered: NotedQuestion[] = []
  for (const { user, agent, query } of asked) {
    const token = await world.token({ user, ...(agent !== undefined && { agent }) })
    const { results } = await world.retrieve(token, { query, top_k: 50, consistency: 'strict' })
    const passages = results.map(({ document_id, text }) => `${document_id}: ${text}`).sort()
    answered.push({ user, ...(agent !== undefined && { agent }), query, passages })
  }
  return answered
}
