import { operator } from '../../../src/audit/record.ts'
import { type DirectoryWorld, openDirectoryWorld, patch } from '../../directory/world.ts'
import type { Backend } from '../../support/backends.ts'
import type { TokenOptions } from '../../support/issuer.ts'
import { Intranet, intranetKind, intranetOrigin } from './intranet.ts'

/** The service with a directory, whose word counts for acme.test, and an intranet as a source. */
export interface PeopleWorld extends AsyncDisposable {
  readonly directory: DirectoryWorld
  readonly intranet: Intranet
  call(user: string, method: string, path: string, body?: object): Promise<Answer>
  /** Proposes and confirms the intranet as a source, and reads it. */
  add(settings?: object, collection?: string): Promise<void>
  /** Reads everything now. */
  sync(): Promise<void>
  /** Makes somebody at the directory with this address; gives their id there. */
  person(key: string, address?: string): Promise<string>
  /** Gives somebody of the directory another address, or another `active`. */
  change(id: string, path: string, value: unknown): Promise<void>
  /** Pages that somebody of the directory may read. */
  reads(key: string, token?: TokenOptions): Promise<string[]>
  /** `7 linked user:acme/anne`, `8 unknown REASON`. */
  people(): Promise<string[]>
  /** Suspends an account as an administrator. */
  suspend(account: string): Promise<Answer>
  /** Two administrators say who an account is. */
  link(account: string, subject: string): Promise<Answer>
  reset(): Promise<void>
}

export interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export interface ShownPerson {
  readonly account: string
  readonly state: string
  readonly subject: string | null
  readonly reason: string | null
  readonly held: boolean
}

export const emails = (value: string) => [{ value, primary: true, type: 'work' }]

export async function openPeopleWorld(backend?: Pick<Backend, 'database' | 'openfga'>): Promise<PeopleWorld> {
  const intranet = new Intranet()
  const directory = await openDirectoryWorld({
    ...(backend && { backend }),
    env: {
      SOURCE_ORIGINS: intranetOrigin,
      SOURCE_DOMAINS: '[{"domain":"acme.test","directory":"acme"}]',
      REQUEST_DEADLINE_MS: '30000',
    },
    sourceKinds: [intranetKind(intranet)],
  })
  const { service, database } = directory
  for (const [id, publicAllowed] of [
    ['intranet', true],
    ['closed', false],
  ] as const)
    await service.ingest.saveCollection(operator('test'), { id, title: id, publicAllowed })
  for (const user of ['dan', 'carol']) await service.administrators.add(`user:${user}`, ['security.write'])
  const call: PeopleWorld['call'] = async (user, method, path, body) => {
    const token = await directory.token({ user })
    const response = await directory.call(method, path, { token, ...(body && { body }) })
    const answer: unknown = await response.json()
    return { status: response.status, body: answer as Answer['body'] }
  }
  const path = '/sources/intranet/people'
  const sync = async (): Promise<void> => {
    await database.query('update sources set next_at = now()')
    await service.sources.runDue()
  }
  let keys = 0
  return {
    directory,
    intranet,
    call,
    async add(settings = {}, collection = 'intranet') {
      const proposal = { id: 'intranet', kind: 'intranet', settings, collections: [collection] }
      const proposed = await call('dan', 'POST', '/sources', proposal)
      if (proposed.status !== 200) throw new Error(JSON.stringify(proposed))
      const { digest } = proposed.body['source'] as { readonly digest: string }
      await call('carol', 'POST', '/sources/intranet', { action: 'confirm', digest })
      await sync()
    },
    sync,
    async person(key, address) {
      keys += 1
      return directory.user(key, {
        userName: `${key}-${keys}`,
        ...(address !== undefined && { emails: emails(address) }),
      })
    },
    async change(id, attribute, value) {
      const answer = await directory.scim(
        'PATCH',
        `/Users/${id}`,
        patch({ op: 'replace', path: attribute, value }),
      )
      if (answer.status !== 200) throw new Error(JSON.stringify(answer))
    },
    async reads(key, options = {}) {
      const found: string[] = []
      for (const page of intranet.pages.keys()) {
        const token = await directory.personToken(key, options)
        const { status } = await directory.call(
          'GET',
          `/documents/${encodeURIComponent(`intranet/${page}`)}`,
          { token },
        )
        if (status === 200) found.push(page)
        else if (status !== 404) throw new Error(`${page}: ${status}`)
      }
      return found.sort()
    },
    async people() {
      const { body } = await call('dan', 'GET', path)
      const people = body['people'] as readonly ShownPerson[]
      return people.map(({ account, state, subject, reason }) =>
        [account, state, subject, reason].filter((text) => text !== null).join(' '),
      )
    },
    suspend: (account) => call('dan', 'POST', path, { action: 'suspend', account }),
    async link(account, subject) {
      const proposed = await call('dan', 'POST', path, { action: 'propose', people: [{ account, subject }] })
      if (proposed.status !== 200) return proposed
      const { digest } = proposed.body['proposed'] as { readonly digest: string }
      return call('carol', 'POST', path, { action: 'confirm', digest })
    },
    async reset() {
      intranet.reset()
      await database.query(`update sources set state = 'removing', next_at = now()`)
      await service.sources.runDue()
      const [left] = await database.query<{ sources: number }>('select count(*) as sources from sources')
      if (left?.sources !== 0)
        throw new Error(`A source stays: ${JSON.stringify(directory.logged.slice(-3))}`)
      await database.query('delete from source_ids')
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}
