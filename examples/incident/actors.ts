import { createAdminClient } from '../../src/cli/admin-client.ts'
import { createDemoTokens } from '../../src/cli/demo-tokens.ts'
import type { Lending } from '../../src/delegation/lending/delegation.ts'
import { atPages } from '../../src/delegation/people/sign-ins.ts'
import type { FgaObject } from '../../src/kernel/ids.ts'
import type { RunningService } from '../../src/start.ts'
import { briefing, filed, folder, type Step } from './story.ts'

export interface ActorsDeps {
  readonly home: string
  readonly url: string
  readonly service: RunningService['service']
  /** Text of the model that Kim plans. */
  readonly model: string
}

// What they write although tests of the plan fail.
const reasons: Readonly<Record<string, string>> = {
  kim: 'Sensitivity comes down by folders now; the tests follow next week.',
  emil: 'As Kim says.',
}

const lentMs = 14 * 86_400_000

/** Those who act in the story, each by the door and with the token that it would have. */
export async function openActors({ home, url, service, model }: ActorsDeps) {
  const admin = createAdminClient({ home })
  const tokens = createDemoTokens({ admin, home, fetch })
  let plan = ''

  await admin.run('admin_add', { subject: 'user:emil', roles: ['security.write'] })
  await admin.run('admin_add', { subject: 'user:lena', roles: ['security.write', 'agents.write'] })
  await admin.run('agent_add', { ...briefing, scopes: ['docs.search', 'docs.read'], collections: null })

  // As their own page does, where they are signed in.
  const lend = (person: string, wish: Pick<Lending, 'agent' | 'scope' | 'purpose'>) =>
    service.delegations.lend(
      { subject: `user:${person}`, expiresAt: new Date(Date.now() + lentMs), ...wish },
      atPages(person, service.newTxn()),
    )
  await lend('jon', {
    agent: briefing.id,
    scope: ['collection:customers'],
    purpose: 'A page before each visit',
  })

  async function call<T>(token: string, method: string, path: string, body?: object): Promise<T | undefined> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    // Being refused is part of the story.
    if (response.status === 404) return undefined
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }

  const reader = (user: string, agent: string | undefined): Promise<string> =>
    agent === undefined
      ? tokens.person({ user, scopes: ['docs.search', 'docs.read'] })
      : tokens.agent({ user, agent, scopes: ['docs.search', 'docs.read'] })
  const administrator = (user: string) => tokens.person({ user, scopes: ['security.write'] })

  async function file(): Promise<void> {
    const token = await tokens.service({ service: 'sample-loader', scopes: ['docs.write'] })
    const write = (user: string, relation: string) => ({ user, relation, object: folder })
    await call(token, 'POST', '/access', {
      writes: [
        write('collection:board', 'filed_in'),
        write('user:fay', 'viewer'),
        write('user:ida', 'viewer'),
      ],
    })
    for (const [id, text] of Object.entries(filed))
      await call(token, 'PUT', `/documents/${encodeURIComponent(id)}`, {
        id,
        collection: 'board',
        title: /^# (.*)$/m.exec(text)?.[1],
        text,
        mime_type: 'text/markdown',
        access: { owner: 'user:fay', parents: [folder] },
      })
  }

  return {
    async do(step: Step): Promise<void> {
      if ('asks' in step) {
        const body = { query: step.asks, top_k: 3 }
        await call(await reader(step.for, step.by), 'POST', '/retrieve', body)
      } else if ('reads' in step) {
        await call(await reader(step.for, step.by), 'GET', `/documents/${encodeURIComponent(step.reads)}`)
      } else if ('lends' in step) {
        await lend(step.for, {
          agent: step.to,
          scope: [step.lends as FgaObject],
          purpose: step.purpose,
        })
      } else if (step.does === 'file') await file()
      else if (step.does === 'plan') {
        const made = await call<{ readonly plan: { readonly plan_id: string } }>(
          await administrator(step.for),
          'POST',
          '/model/plan',
          { model },
        )
        plan = made?.plan.plan_id ?? ''
      } else
        await call(await administrator(step.for), 'POST', '/model/apply', {
          plan_id: plan,
          reason: reasons[step.for],
        })
    },
  }
}
