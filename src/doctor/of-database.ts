import { pluralize } from '../kernel/pluralize.ts'
import { isPgvectorOld } from '../store/postgres.ts'
import type { Facts } from './facts.ts'
import { type Finding, ok, problem, warning } from './finding.ts'

const hour = 3_600
const backupSecondsMax = 48 * hour

/** What the facts of the database mean; `now` in milliseconds. */
export function ofDatabase(facts: Facts, now: number): readonly Finding[] {
  return [
    ...versions(facts),
    ...roles(facts),
    restored(facts),
    indexes(facts),
    ...backup(facts, now),
    ...jobs(facts),
    record(facts),
    readings(facts),
    ...besideSources(facts),
    drift(facts),
  ]
}

function versions({ kind, version, pgvector }: Facts): readonly Finding[] {
  if (kind === 'pglite') return [ok('database', `The embedded database answers (Postgres ${version}).`)]
  return [
    ok('database', `Postgres ${version} answers.`),
    pgvector === null || isPgvectorOld(pgvector)
      ? problem(
          'pgvector',
          `pgvector is ${pgvector ?? 'not installed'}; 0.8.4 or newer is needed.`,
          'Install it, and let a superuser run `alter extension vector update`.',
        )
      : ok('pgvector', `pgvector ${pgvector} is new enough.`),
  ]
}

function recordRole({ insertOnly, ownsDatabase }: Facts): Finding {
  if (insertOnly && !ownsDatabase)
    return ok('record role', 'The service can add to the record and not change it.')
  return warning(
    'record role',
    insertOnly
      ? 'The service’s role could drop the database, and the record with it.'
      : 'The service’s role could change the record; a change would show, and is not refused.',
    'Stop the service, run docker/record-owner.sql of its version as a superuser, then start it. Let it be a member of no role that owns the database.',
  )
}

function roles(facts: Facts): readonly Finding[] {
  const { kind, superuser } = facts
  if (kind === 'pglite') return [ok('roles', 'The embedded database has no roles.')]
  return [
    superuser
      ? problem(
          'roles',
          'The role of DATABASE_URL is a superuser: whoever breaks the service owns the server.',
          'Make a role of its own, as docs/production.md says, and name it in DATABASE_URL.',
        )
      : ok('roles', 'The role of DATABASE_URL is no superuser.'),
    recordRole(facts),
  ]
}

const restored = (facts: Facts): Finding =>
  facts.restored
    ? problem(
        'recovery',
        'A database was restored or went back, and its recovery has not ended.',
        'Run `remit recover`.',
      )
    : ok('recovery', 'No recovery is pending.')

function indexes({ brokenIndexes, building, withoutVector }: Facts): Finding {
  if (brokenIndexes !== null)
    return problem(
      'indexes',
      `These indexes are not valid: ${brokenIndexes}.`,
      'Run `reindex index concurrently` for each.',
    )
  if (building > 0)
    return warning('indexes', 'An index is being built; searches are slower.', 'Wait until it is done.')
  if (withoutVector > 0)
    return warning(
      'indexes',
      `${withoutVector} passages have no vector and are found by words only.`,
      'Stop the service and run `remit reembed`.',
    )
  return ok('indexes', 'Every index is valid, and every passage has its vector.')
}

/** `remit backup` copies native databases alone. */
function backup({ kind, backup: last, failure }: Facts, now: number): readonly Finding[] {
  if (kind === 'pglite') return []
  const remedy = 'Take one: docs/recovery.md.'
  if (last === undefined || last.takenAt === null)
    return [
      warning(
        'backup',
        `Remit never took a backup${failure === null ? '' : `; one failed: ${failure}`}.`,
        'Take one, or see that both databases are copied by other means, OpenFGA’s first: docs/recovery.md.',
      ),
    ]
  const hours = Math.round((now - last.takenAt) / 1_000 / hour)
  if (now - last.takenAt > backupSecondsMax * 1_000)
    return [problem('backup', `The last backup is ${hours} hours old.`, remedy)]
  if ((last.failedAt ?? 0) > last.takenAt)
    return [
      warning('backup', `The last backup is ${hours} hours old, and one failed since: ${failure}`, remedy),
    ]
  return [ok('backup', `The last backup is ${hours} hours old.`)]
}

const documentsWait = (count: number) => pluralize(count, 'document waits', 'documents wait')

function jobs({ stock, standing, failedDocuments }: Facts): readonly Finding[] {
  if (stock === undefined) return []
  const { waiting, waitingSeconds } = stock
  const stands = standing > 0 || waitingSeconds > hour
  return [
    stands
      ? problem(
          'jobs',
          `${documentsWait(waiting)}, and for an hour none of a job was done.`,
          'Look for job_failed in the log; a process with the role worker has to run.',
        )
      : ok('jobs', `${documentsWait(waiting)}; no job stands still.`),
    // Not by jobs, which are kept for 30 days: what came since, or was withdrawn, needs nobody any more.
    failedDocuments > 0
      ? warning(
          'failed documents',
          `${pluralize(failedDocuments, 'document')} could not be taken in as last sent.`,
          '`remit jobs failed` says why. `remit jobs retry --all` tries again those whose content is held; send the others again, or withdraw them.',
        )
      : ok('failed documents', 'Every document was taken in.'),
  ]
}

const record = ({ unsealed: { seconds } }: Facts): Finding =>
  seconds > 60
    ? problem(
        'record',
        `The oldest record without a seal is ${Math.round(seconds)} seconds old.`,
        'Look for background_failed with the name seal in the log. With no process running, start one.',
      )
    : ok('record', 'The record is sealed to its end.')

function readings({ sources, directories }: Facts): Finding {
  const stale = (sources?.stale ?? 0) + (directories?.stale ?? 0)
  const failing = (sources?.failing ?? 0) + (directories?.failing ?? 0)
  if (stale > 0)
    return problem(
      'sources',
      `${stale} sources or directories are too old to count: nobody reads what hangs on them.`,
      '`remit source list` and `remit directory list` show the last error of each.',
    )
  return failing > 0
    ? warning(
        'sources',
        `The last reading of ${failing} sources or directories failed.`,
        '`remit source list` and `remit directory list` show why.',
      )
    : ok('sources', 'Every source and directory was read.')
}

/** No new right of that kind is given (`assertFree` of sources): these are from before, or OpenFGA's. */
const besideSources = ({ besideSources: others }: Facts): readonly Finding[] =>
  others === null
    ? []
    : [
        warning(
          'sources',
          `Others may write where a source files its documents: ${others}.`,
          'Take that right from them (`remit service add` names all collections that one keeps): docs/sources.md.',
        ),
      ]

const drift = ({ unreconciled }: Facts): Finding =>
  unreconciled > 0
    ? warning(
        'drift',
        `${unreconciled} objects differ between the database and OpenFGA for over an hour.`,
        'Run `remit drift`: it compares and mends.',
      )
    : ok('drift', 'Nothing waits to be mended between the database and OpenFGA.')
