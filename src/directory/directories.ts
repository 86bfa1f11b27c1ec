import { createHash } from 'node:crypto'
import { isId } from '@remit/contract/id'
import type { PresetName } from '../delegation/tokens/presets.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import type { RegisteredSecret } from '../kernel/registered-secret.ts'
import { lockPrefixes } from '../store/prefixes.ts'
import type { Runtime } from '../store/runtime.ts'
import type { Sql } from '../store/sql.ts'
import type { DirectoryKind } from './reading/kind.ts'
import type { DirectoryReading } from './reading/totals.ts'
import { confirmWaiting, type ListedWaiting, listWaiting } from './reading/waiting.ts'
import { type NewDirectory, type Way, wayOf } from './ways.ts'

/** The attribute of a user that is the issuer's `sub`. */
export const keyAttributes = ['externalId', 'userName'] as const

/** A directory that brings the people of one trusted issuer, and groups, in whichever way. */
export interface BringingDirectory {
  readonly name: string
  /** `iss` of the trusted issuer. */
  readonly issuer: string
  /** Of that issuer: people are `user:NAMESPACE/KEY`. */
  readonly namespace: string
  /** Ends in `/`; groups are `group:PREFIX` and their id. */
  readonly prefix: string
  /** Of the trusted issuer, as it is configured now: how it writes the subject of a person. */
  readonly preset: PresetName
}

/** One that brings them by SCIM. */
export interface Directory extends BringingDirectory {
  readonly keyAttribute: (typeof keyAttributes)[number]
}

/** A directory with what it has brought, and how its tokens or its readings stand. */
export interface ListedDirectory extends Omit<BringingDirectory, 'preset'> {
  readonly kind: 'scim' | 'ldap' | 'keycloak'
  readonly keyAttribute: string

  readonly users: number
  /** Of those users who ever signed in by their key: none of many, and the attribute is not the subject. */
  readonly usersSeen: number
  readonly groups: number
  readonly tokensEnd: readonly Date[]
  /** People who are shut out and of whom nothing is ended: missing, or not to be told apart. */
  readonly held: number
  /** Undefined: it comes by SCIM. */
  readonly reading: DirectoryReading | undefined
}

/** A group as OpenFGA knows it, with the name that its directory gave it. */
export interface ListedGroup {
  /** `group:acme/g_…` */
  readonly group: string
  readonly name: string
  /** By which the directory itself knows it: two may have one name. Null: it gives none. */
  readonly id: string | null
  readonly members: number
}

/** Which directories there are, and the tokens by which they come. */
export interface Directories {
  /**
   * Registers one. The same again changes nothing but how one is read: settings, secret, times, and whether
   * it is required. 409 for other properties, whose people are here already. 422 for settings or a secret
   * that do not fit, for a namespace that no trusted issuer has or another directory brings, and for a prefix
   * that does not end in `/` or has groups in common with that of another directory, of a service or of a
   * source.
   */
  add(directory: NewDirectory): Promise<void>
  list(): Promise<ListedDirectory[]>
  /** Has one read now that the service reads; 422 for any other. */
  wake(name: string): Promise<void>
  /** What of its last reading waits for somebody's word; 422 for no such directory. */
  waitingOf(name: string): Promise<ListedWaiting[]>
  /**
   * Has done, by a reading now, what waits under this digest, and nothing that waits since; 409 where it
   * stands for nothing that waits. 422 for one that is not read.
   */
  confirm(name: string, digest: string): Promise<void>
  /** Its groups by their names; 422 for no such directory. */
  groupsOf(name: string): Promise<ListedGroup[]>
  /**
   * A new token. `days`: until it ends, 1 to 400. `isOnly`: every other one ends now. 409 where two count
   * already.
   */
  issueToken(
    name: string,
    options: { readonly days: number; readonly isOnly: boolean },
  ): Promise<{ readonly token: string; readonly expiresAt: Date }>
  /**
   * The directory that this token is for. Undefined for any other, one that is over, and where its namespace
   * is another issuer's by now.
   */
  authenticate(token: string): Promise<Directory | undefined>
}

export interface DirectoriesDeps extends Pick<Runtime, 'database' | 'clock' | 'randomBytes'> {
  readonly trustedIssuers: readonly {
    readonly issuer: string
    readonly namespace: string
    readonly preset: PresetName
  }[]
  /** Kinds that the service reads, by id. */
  readonly kinds: ReadonlyMap<string, DirectoryKind>
  /** `DIRECTORY_SECRETS`. */
  readonly secrets: readonly RegisteredSecret[]
}

const tokensMax = 2
const daysMax = 400
const tokenForm = /^remit_dir_[A-Za-z0-9_-]{43}$/

/** Registers directories and knows their tokens by digests. Does NOT check who asks. */
export function createDirectories(deps: DirectoriesDeps): Directories {
  const { database, clock, randomBytes, trustedIssuers } = deps
  const issuers = new Map(trustedIssuers.map((trusted) => [trusted.namespace, trusted]))
  const now = () => new Date(clock.now())

  return {
    async add(directory) {
      const { name, namespace, prefix } = directory
      if (!isId(name) || name.includes('/')) throw invalid('name', 'The name of the directory is not valid.')
      const issuer = issuers.get(namespace)?.issuer
      if (issuer === undefined)
        throw invalid('namespace', `No trusted issuer has the namespace ${namespace}.`)
      // With the longest id that a group gets.
      if (!prefix.endsWith('/') || !isId(`${prefix}g_${'x'.repeat(22)}`))
        throw invalid('prefix', 'A prefix is the beginning of an id, and ends in /.')
      const way = wayOf(deps, directory)
      const row = [name, issuer, namespace, prefix, way.kind, way.keyAttribute]
      await database.transaction(async (sql) => {
        await lockPrefixes(sql)
        const [old] = await sql.query<{ row: string[] }>(
          `select array[name, issuer, namespace, prefix, kind, key_attribute] as row from directories
           where name = $1`,
          [name],
        )
        if (old === undefined) await assertFree(sql, directory)
        else if (JSON.stringify(old.row) !== JSON.stringify(row))
          throw new AppError('conflict', {
            field: 'name',
            public: `The directory ${name} is there with other properties, which never change.`,
          })
        await saveDirectory(sql, row, way, now())
      })
    },
    async list() {
      const rows = await database.query<
        Omit<ListedDirectory, 'reading'> & { readonly reading: DirectoryReading | null }
      >(
        `select ${directoryColumns}, kind,
           (select count(*) from directory_users where directory = name and is_held) as held,
           case when kind <> 'scim' then jsonb_build_object('origin', origin, 'readAt', read_at, 'endedAt', ended_at,
             'failures', failures, 'problem', problem, 'problems', problems, 'isStale', is_stale,
             'isRequired', required,
             'waiting', (select jsonb_object_agg(what, count) from (select what, count(*) from directory_waiting
                where directory = name and not is_confirmed group by what) as waiting)) end as reading,
           (select count(*) from directory_users where directory = name and deleted_at is null) as users,
           (select count(*) from directory_users join people on key = account
            where directory = directories.name and deleted_at is null) as "usersSeen",
           (select count(*) from directory_groups where directory = name and deleted_at is null) as groups,
           array(select expires_at from directory_tokens
                 where directory = name and expires_at > $1 order by 1) as "tokensEnd"
         from directories order by name`,
        [now()],
      )
      return rows.map(({ reading, ...row }) => ({ ...row, reading: reading ?? undefined }))
    },
    async wake(name) {
      const rows = await database.query(
        `update directories set next_at = now() where name = $1 and kind <> 'scim' returning name`,
        [name],
      )
      if (rows.length === 0) throw invalid('name', `There is no directory ${name} that the service reads.`)
    },
    async waitingOf(name) {
      await assertThere(database, name)
      return listWaiting(database, name)
    },
    confirm: (name, digest) => confirmWaiting(database, name, digest),
    async groupsOf(name) {
      await assertThere(database, name)
      return database.query<ListedGroup>(
        `select 'group:' || prefix || id as "group", attributes ->> 'displayName' as name,
           coalesce(immutable_id, attributes ->> 'externalId') as id,
           (select count(*) from directory_members where group_id = directory_groups.id) as members
         from directory_groups join directories on directories.name = directory
         where directory = $1 and deleted_at is null order by 2, 1`,
        [name],
      )
    },
    async issueToken(name, { days, isOnly }) {
      if (!Number.isInteger(days) || days < 1 || days > daysMax)
        throw invalid('days', `A token counts for 1 to ${daysMax} days.`)
      const token = `remit_dir_${randomBytes(32).toString('base64url')}`
      const expiresAt = new Date(clock.now() + days * 86_400_000)
      await database.transaction(async (sql) => {
        const [row] = await sql.query(
          `select from directories where name = $1 and kind = 'scim' for update`,
          [name],
        )
        if (row === undefined) throw invalid('name', `There is no directory ${name} that comes by SCIM.`)
        await sql.query('delete from directory_tokens where directory = $1 and ($2 or expires_at <= $3)', [
          name,
          isOnly,
          now(),
        ])
        const live = await sql.query('select from directory_tokens where directory = $1', [name])
        if (live.length >= tokensMax)
          throw new AppError('conflict', {
            public: `Two tokens of ${name} count already. With --only the new one takes the place of both.`,
          })
        await sql.query(
          'insert into directory_tokens (digest, directory, created_at, expires_at) values ($1, $2, $3, $4)',
          [digestOf(token), name, now(), expiresAt],
        )
      })
      return { token, expiresAt }
    },
    async authenticate(token) {
      if (!tokenForm.test(token)) return undefined
      const [directory] = await database.query<Omit<Directory, 'preset'>>(
        `select ${directoryColumns} from directories join directory_tokens on directory = name
         where digest = $1 and expires_at > $2 and kind = 'scim'`,
        [digestOf(token), now()],
      )
      const trusted = directory && issuers.get(directory.namespace)
      return directory !== undefined && trusted?.issuer === directory.issuer
        ? { ...directory, preset: trusted.preset }
        : undefined
    },
  }
}

async function assertThere(sql: Sql, name: string): Promise<void> {
  const [row] = await sql.query('select from directories where name = $1', [name])
  if (row === undefined) throw invalid('name', `There is no directory ${name}.`)
}

/** Nobody else brings these people or writes groups that begin so. */
async function assertFree(
  sql: Sql,
  { namespace, prefix }: Pick<BringingDirectory, 'namespace' | 'prefix'>,
): Promise<void> {
  const [same] = await sql.query('select from directories where namespace = $1', [namespace])
  if (same !== undefined) throw invalid('namespace', `Another directory brings the people of ${namespace}.`)
  const [{ owner } = {}] = await sql.query<{ owner: string }>(
    `select 'directory ' || name as owner from directories
     where starts_with(prefix, $1) or starts_with($1, prefix)
     union all
     select 'service ' || name from services, unnest(prefixes) as own
     where starts_with(own, $1) or starts_with($1, own)
     union all
     select 'source ' || id from sources
     where starts_with(id || '/', $1) or starts_with($1, id || '/')`,
    [prefix],
  )
  if (owner !== undefined)
    throw invalid('prefix', `The ${owner} writes groups that begin so. Each has one that writes it.`)
}

/** Whatever the settings become, people and groups stay who they are by their immutable ids. */
const saveDirectory = (sql: Sql, row: readonly string[], way: Way, now: Date): Promise<unknown> =>
  sql.query(
    `insert into directories (name, issuer, namespace, prefix, kind, key_attribute, settings, origin, secret,
       poll_seconds, max_age_seconds, required, created_at)
     values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11, $12, $13)
     on conflict (name) do update set settings = excluded.settings, origin = excluded.origin, secret = excluded.secret, poll_seconds = excluded.poll_seconds,
       max_age_seconds = excluded.max_age_seconds, required = excluded.required, next_at = now()
     where directories.kind <> 'scim'`,
    [
      ...row,
      JSON.stringify(way.settings),
      way.origin,
      way.secret,
      way.pollSeconds,
      way.maxAgeSeconds,
      way.isRequired,
      now,
    ],
  )

const directoryColumns = 'name, issuer, namespace, prefix, key_attribute as "keyAttribute"'

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64url')

/** The directory that holds this account inactive or has deleted it, if any. */
export async function deactivatedBy(sql: Sql, account: string): Promise<string | undefined> {
  const [row] = await sql.query<{ directory: string }>(
    'select directory from directory_users where account = $1 and not is_active',
    [account],
  )
  return row?.directory
}
