import { isId } from '@remit/contract/id'
import { operator } from '../../audit/record.ts'
import type { Fga, Tuple } from '../../authz/fga.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { isAllAdopted } from '../../store/adopted.ts'
import { movedTo, moveInSources } from '../../store/moved.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, type Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import { isLocal, type People } from '../people/people.ts'
import type { Persons } from '../people/persons.ts'
import type { Barring } from '../people/sign-in-ends.ts'

/** What stands under one key of a person. */
export interface UnderKey {
  /** Of documents, folders and collections. */
  readonly tags: number
  /** In OpenFGA, those of tags among them. */
  readonly tuples: number
  readonly delegations: number
  readonly approvals: number
  readonly roles: number
  readonly agents_owned: number
  readonly blocks: number
  /** End, and are to be connected once more. */
  readonly connections: number
}

/** Moves one person to another account key, in the database and at OpenFGA. Runs twice. */
export interface PersonMove {
  /** How much a move would take along. Changes nothing, and throws what {@link move} would. */
  look(oldKey: string, newKey: string): Promise<UnderKey>
  /**
   * Makes what stands under `oldKey`, a key of a trusted issuer, stand under `newKey`, another of the same
   * issuer or a local account. `oldKey` is disabled first and for good: nobody acts as it meanwhile, or comes
   * by it later; whoever was disabled before is so under `newKey`, too. Each step may run twice: after a
   * crash the same call goes on. 422 for other keys. Tuples are moved whatever the allow-list lets write:
   * nobody comes to more, and one that stayed behind would be a block that is lost. 422 while the model in
   * force does not take one: by another model it would count again, under the old key.
   */
  move(oldKey: string, newKey: string): Promise<UnderKey>
}

export interface PersonMoveDeps extends Pick<Runtime, 'database' | 'clock' | 'newTxn'> {
  readonly fga: Pick<Fga, 'read'>
  /** Of objects that may be stored: those of every model that was ever in force. */
  readonly types: () => Promise<readonly string[]>
  /** Whether the model in force takes it. Throws while nobody may write. */
  readonly isStorable: (tuple: Tuple) => boolean
  readonly people: Pick<People, 'has'>
  readonly persons: Pick<Persons, 'linkedTo'>
  readonly barring: Pick<Barring, 'bar'>
  readonly delegations: Pick<Delegations, 'revokeWithin'>
  readonly tags: {
    readonly count: (subject: string) => Promise<number>
    /** All of it, with others' rows: see `moveSubject` of src/ingest. */
    readonly move: (move: {
      readonly from: string
      readonly to: string
      readonly tuplesOf: (subject: string) => Promise<readonly Tuple[]>
      readonly movable: () => Promise<readonly Tuple[]>
      readonly rows: (sql: Sql) => Promise<readonly (() => Promise<void>)[]>
    }) => Promise<void>
  }
}

/** A move that was cut off goes on where it stopped. Does NOT check who asks. */
export function createPersonMove(deps: PersonMoveDeps): PersonMove {
  const { database, fga, people, persons, barring, delegations, tags: tagWriters, clock, newTxn } = deps
  const now = () => new Date(clock.now())

  async function assertMovable(oldKey: string, newKey: string): Promise<void> {
    if (isLocal(oldKey) && (await people.has(oldKey)))
      throw invalid(
        'from',
        `${oldKey} is a local account, and those are not moved.${isLocal(newKey) ? '' : ` Whoever has both links ${newKey} to it at /accounts.`}`,
      )
    if (!isId(oldKey) || isLocal(oldKey))
      throw invalid('from', 'The old key is NAMESPACE/KEY of a trusted issuer.')
    await assertNoDirectorys(oldKey)
    if (!isId(newKey) || newKey === oldKey) throw invalid('to', 'The new key is another account key.')
    if (isLocal(newKey) && !(await people.has(newKey)))
      throw invalid('to', `There is no local account ${newKey}.`)
    if (!isLocal(newKey) && newKey.split('/')[0] !== oldKey.split('/')[0])
      throw invalid('to', 'Both keys are of one issuer, or the new one is a local account.')
    const bound = await persons.linkedTo(database, `user:${oldKey}`)
    if (bound !== undefined)
      throw invalid(
        'from',
        `${oldKey} is linked to ${bound}, who could not sign in by it any more. End the link first, at /accounts.`,
      )
    const linked = await persons.linkedTo(database, `user:${newKey}`)
    if (linked !== undefined) throw invalid('to', `${newKey} is linked to ${linked}. Move to ${linked}.`)
    const [pendingMove] = await database.query<{ new_key: string }>(
      'select new_key from person_moves where old_key = $1',
      [oldKey],
    )
    if (pendingMove !== undefined && pendingMove.new_key !== newKey)
      throw invalid('to', `${oldKey} was moved to ${pendingMove.new_key} already.`)
    const onward = await onwardFrom(oldKey, newKey)
    if (pendingMove === undefined && onward !== undefined)
      throw invalid('to', `${newKey} was moved to ${onward}. Move to ${onward}.`)
    // What a row is missing of would be written back under the old key, or lost under the new one.
    if (!(await isAllAdopted(database)))
      throw new AppError('conflict', {
        public:
          'Members of groups and writers of collections are still being taken over from OpenFGA. The log says tuples_adopted once that is done: move then.',
      })
  }

  /** Where the new key leads by now, if it is one that was given up itself, and not for the old one. */
  async function onwardFrom(oldKey: string, newKey: string): Promise<string | undefined> {
    const now = (await movedTo(database, [`user:${newKey}`])).get(`user:${newKey}`)
    return now === undefined || now === `user:${oldKey}` ? undefined : now.slice('user:'.length)
  }

  /** A directory names the old key, and would go on taking from it what the new one has by then. */
  async function assertNoDirectorys(oldKey: string): Promise<void> {
    const [row] = await database.query<{ directory: string }>(
      'select directory from directory_users where account = $1 and deleted_at is null',
      [oldKey],
    )
    if (row !== undefined)
      throw invalid(
        'from',
        `The directory ${row.directory} keeps ${oldKey}. Have it delete the user first. What its groups keep from them ends with that: put who they are now into those groups before.`,
      )
    // What it has ended would come along as something else's.
    const unsettled = await countRows(database, 'select 1 from directory_unsettled where member = $1', [
      `user:${oldKey}`,
    ])
    if (unsettled > 0)
      throw new AppError('conflict', {
        public: `OpenFGA does not know yet what the directory ended of ${oldKey}. Try again in a minute.`,
      })
  }

  async function tuplesOf(subject: string): Promise<Tuple[]> {
    const found: Tuple[] = []
    const filters = [
      ...(await deps.types()).map((type) => ({ user: subject, object: `${type}:` })),
      { object: subject },
    ]
    for (const filter of filters) for await (const tuple of fga.read(filter)) found.push(tuple)
    return found
  }

  /** All that is stored under the subject. What cannot stand under the new key would stay behind. */
  async function movableTuples(subject: string): Promise<Tuple[]> {
    const found = await tuplesOf(subject)
    const stuck = found.filter((tuple) => !deps.isStorable(tuple))
    if (stuck.length === 0) return found
    const relations = new Set(stuck.map(({ relation, object }) => `${object.split(':')[0]}#${relation}`))
    throw invalid(
      'from',
      `The model in force does not take what is stored for ${subject} as ${[...relations].join(', ')}. It would stay behind, and a block among it could be lost. Put a model in force that takes it, then move.`,
    )
  }

  async function under(key: string): Promise<UnderKey> {
    const subject = `user:${key}`
    const [row] = await database.query<Omit<UnderKey, 'tags' | 'tuples'>>(counts, [subject])
    if (row === undefined) throw new Error('Nothing was counted.')
    const found = {
      tags: await tagWriters.count(subject),
      tuples: (await movableTuples(subject)).length,
      ...row,
    }
    if (Object.values(found).every((count) => count === 0) && (await countRows(database, known, [key])) === 0)
      throw invalid(
        'from',
        `Nobody was ever here as ${key}, and nothing names them. Check how it is spelled.`,
      )
    return found
  }

  /**
   * Whether the new key is to be disabled too. As the row says if it is there: a second run sees somebody
   * disabled whom the first one disabled, and after the end the operator may have enabled the new key. But
   * for who was moved back since: that is another move, which comes after those.
   */
  async function beginMove(oldKey: string, newKey: string): Promise<boolean> {
    await database.query(
      `insert into person_moves (old_key, new_key, was_disabled, begun_at, tuples_first, running)
       values ($1, $2, exists (
         select from revocations where kind = 'subject' and key = $3 and (until is null or until > $4)),
       clock_timestamp(), true, true)
       on conflict (old_key) do update set tuples_first = true, running = true,
         (begun_at, was_disabled, ended_at) = (
           select case when again then excluded.begun_at else person_moves.begun_at end,
             case when again then excluded.was_disabled else person_moves.was_disabled end,
             case when not again then person_moves.ended_at end
           from (select not person_moves.running and exists (
             select from person_moves back where back.new_key = person_moves.old_key
               and back.ended_at is not null and back.begun_at > person_moves.begun_at) as again) as found)`,
      [oldKey, newKey, `user:${oldKey}`, now()],
    )
    // Again: a directory that makes a user looks for this row, and was waited for.
    await assertNoDirectorys(oldKey)
    const [row] = await database.query<{ disables: boolean }>(
      'select was_disabled and ended_at is null as disables from person_moves where old_key = $1',
      [oldKey],
    )
    return row?.disables ?? true
  }

  return {
    async look(oldKey, newKey) {
      await assertMovable(oldKey, newKey)
      return under(oldKey)
    },
    async move(oldKey, newKey) {
      await assertMovable(oldKey, newKey)
      const found = await under(oldKey)
      await moveAll(oldKey, newKey)
      // The new key may have been moved meanwhile, or since a run that died.
      const onward = await onwardFrom(oldKey, newKey)
      if (onward !== undefined) await moveAll(newKey, onward)
      return found
    },
  }

  async function moveAll(oldKey: string, newKey: string): Promise<void> {
    if (await beginMove(oldKey, newKey)) await barring.bar(newKey)
    await barring.bar(oldKey)
    const from = `user:${oldKey}`
    await tagWriters.move({
      from,
      to: `user:${newKey}`,
      tuplesOf,
      movable: () => movableTuples(from),
      rows: (sql) => moveRows(sql, oldKey, newKey),
    })
    await database.query('update person_moves set ended_at = now(), running = false where old_key = $1', [
      oldKey,
    ])
  }

  async function moveRows(sql: Sql, oldKey: string, newKey: string): Promise<(() => Promise<void>)[]> {
    const subjects = [`user:${oldKey}`, `user:${newKey}`]
    const settles: (() => Promise<void>)[] = []
    // One standing delegation to an agent: that of the key that is used now stays.
    const twice = await sql.query<{ id: string }>(
      `select id from delegations old where subject = $1 and standing and state <> 'revoked' and exists (
         select from delegations new where new.subject = $2 and new.agent = old.agent and new.standing
           and new.state <> 'revoked') order by id`,
      subjects,
    )
    for (const { id } of twice) settles.push(await delegations.revokeWithin(sql, id, operator(newTxn())))
    for (const text of moves) await sql.query(text, subjects)
    await moveInSources(sql, `user:${oldKey}`, `user:${newKey}`)
    for (const text of ends) await sql.query(text, subjects.slice(0, 1))
    await sql.query(
      `update connections set state = 'ended', sealed = null, wrapped_key = null, key_version = null,
         lease = lease + 1, leased_until = null, ended_at = $2
       where subject = $1 and state <> 'ended'`,
      [subjects[0] ?? '', now()],
    )
    await sql.query('delete from browser_sessions where upstream_person = $1', [oldKey])
    await sql.query('delete from people where key = $1', [oldKey])
    return settles
  }
}

// $1 the old subject, $2 the new one.
const moves = [
  ...['delegations', 'approvals', 'approval_grants'].map(
    (table) => `update ${table} set subject = $2 where subject = $1`,
  ),
  'update agents set owner = $2 where owner = $1',
  `insert into administrators (subject, roles) select $2, roles from administrators where subject = $1
   on conflict (subject) do update set roles =
     array(select distinct unnest(administrators.roles || excluded.roles) order by 1)`,
  `insert into approval_askers (subject, agent, blocked_at) select $2, agent, blocked_at from approval_askers where subject = $1
   on conflict (subject, agent) do update set blocked_at = least(approval_askers.blocked_at, excluded.blocked_at)`,
  `insert into approval_host_askers (subject, host, blocked_at)
   select $2, host, blocked_at from approval_host_askers where subject = $1
   on conflict (subject, host) do update set
     blocked_at = least(approval_host_askers.blocked_at, excluded.blocked_at)`,
]

const ends = [
  ...[
    'administrators',
    'approval_askers',
    'approval_host_askers',
    'backchannel_requests',
    'connection_requests',
    'offers',
    'offer_limits',
  ].map((table) => `delete from ${table} where subject = $1`),
  `delete from source_people_proposed where people @> jsonb_build_array(jsonb_build_object('subject', $1::text))`,
  `delete from connection_agents where connection in (select id from connections where subject = $1)`,
]

// $1 the key. Who was moved is known also where nothing is left.
const known = `select 1 from people where key = $1
  union all select 1 from person_moves where old_key = $1
  union all select 1 from directory_users where account = $1
  union all select 1 from revocations where kind = 'subject' and key = 'user:' || $1
  union all select 1 from source_people where subject = 'user:' || $1
  union all select 1 from (select access from revisions union all select access from failed_documents) as waiting
    where access @> jsonb_build_array(jsonb_build_object('subject', 'user:' || $1))`

const counts = `select
  (select count(*) from delegations where subject = $1 and state <> 'revoked') as delegations,
  (select count(*) from approvals where subject = $1) as approvals,
  (select coalesce(sum(cardinality(roles)), 0)::int from administrators where subject = $1) as roles,
  (select count(*) from agents where owner = $1) as agents_owned,
  (select count(*) from approval_askers where subject = $1 and blocked_at is not null) as blocks,
  (select count(*) from connections where subject = $1 and state <> 'ended') as connections`
