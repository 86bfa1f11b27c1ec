import { readFile } from 'node:fs/promises'
import type { Source, SourceAnswer, SourceList, SourceRead } from '@remit/contract/sources'
import type { Command } from 'commander'
import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import { askAs, asPerson, type PersonFlags, personOf } from './as-person.ts'
import type { CliDeps } from './deps.ts'
import { bare, repeatable } from './ids.ts'
import { addPeopleCommands } from './source-people.ts'

interface AddFlags extends PersonFlags {
  readonly kind: string
  readonly collection: string[]
  readonly settings: string
  readonly secret?: string
  readonly perMinute?: string
  readonly poll?: string
  readonly crawl?: string
  readonly maxAge?: string
  readonly purgeDays?: string
}

interface SetFlags extends PersonFlags {
  readonly settings: string
  readonly secret?: string
}

/**
 * `remit source …`: what the service reads by itself. Asks as an administrator, never with machine rights.
 */
export function addSourceCommands(program: Command, dependencies: CliDeps): void {
  const { terminal } = dependencies
  const group = program.command('source').description('Works on sources that the service reads by itself.')
  const ask = <T>(path: string, flags: PersonFlags, body?: object): Promise<T> =>
    askAs<T>(
      dependencies,
      { ...personOf(flags), scope: 'security.write' },
      path,
      body === undefined ? {} : { body },
    )
  const pathOf = (id: string): string => `/sources/${encodeURIComponent(id)}`

  asPerson(group.command('add <id>'))
    .description('Proposes a source; another administrator confirms it.')
    .requiredOption('--kind <kind>', 'for example folder')
    .requiredOption('--settings <file>', 'a file of JSON with what the kind asks for')
    .requiredOption(
      '--collection <id>',
      'where its documents are filed, its own; repeat for more',
      repeatable(bare('collection')),
    )
    .option('--secret <name>', 'an entry of SOURCE_SECRETS for this kind and origin')
    .option('--per-minute <count>', 'most requests a minute that the source is asked')
    .option('--poll <seconds>', 'between two readings')
    .option('--crawl <seconds>', 'after which everything is read again')
    .option('--max-age <seconds>', 'for which permissions count after they were confirmed')
    .option('--purge-days <days>', 'for which the text of what is missing is kept, hidden')
    .action(async (id: string, flags: AddFlags) => {
      const { kind, settings, collection, secret, perMinute, poll, crawl, maxAge, purgeDays, ...person } =
        flags
      const { source } = await ask<SourceAnswer>('/sources', person, {
        id,
        kind,
        settings: JSON.parse(await readFile(settings, 'utf8')) as unknown,
        collections: collection,
        ...(secret !== undefined && { secret }),
        ...(perMinute !== undefined && { requests_per_minute: Number(perMinute) }),
        ...(poll !== undefined && { poll_seconds: Number(poll) }),
        ...(crawl !== undefined && { crawl_seconds: Number(crawl) }),
        ...(maxAge !== undefined && { permissions_max_age_seconds: Number(maxAge) }),
        ...(purgeDays !== undefined && { purge_days: Number(purgeDays) }),
      })
      terminal.out(
        `Proposed: ${source.id} reads ${printable(source.origin)} into ${source.collections.join(', ')}. Somebody else has to look at it and confirm it: npm run remit -- source status ${source.id}`,
      )
    })

  asPerson(group.command('list'))
    .description('Prints every source and how it stands.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json, ...flags }: PersonFlags & { readonly json: boolean }) => {
      const { sources } = await ask<SourceList>('/sources', flags)
      for (const source of sources) terminal.out(json ? JSON.stringify(source) : lineOf(source))
      if (sources.length === 0) terminal.say('No sources.')
    })

  asPerson(group.command('status <id>'))
    .description('Prints how a source stands, and what of it nobody may read, with the reason.')
    .option('--json', 'prints the answer as JSON', false)
    .action(async (id: string, { json, ...flags }: PersonFlags & { readonly json: boolean }) => {
      const read = await ask<SourceRead>(`${pathOf(id)}?limit=200`, flags)
      if (json) {
        terminal.out(JSON.stringify(read))
        return
      }
      terminal.out(lineOf(read.source))
      for (const line of [...proposalLines(read.source), ...changeLines(read)])
        terminal.out(`  ${printable(line)}`)
      for (const { document_id, reason } of read.hidden)
        terminal.out(`  hidden: ${printable(`${document_id}: ${reason}`)}`)
      for (const { name, reason } of read.nameless)
        terminal.out(`  not brought: ${printable(`${name}: ${reason}`)}`)
      if (read.source.hidden > read.hidden.length)
        terminal.say(`${read.source.hidden - read.hidden.length} more are hidden, which are not shown.`)
    })

  const actions = {
    pause: 'Reads a source no more. What it brought is hidden once its permissions are too old.',
    resume: 'Reads a paused source again.',
    remove: 'Hides all of a source at once, then takes away what it brought.',
  }
  for (const [action, description] of Object.entries(actions))
    asPerson(group.command(`${action} <id>`))
      .description(description)
      .action(async (id: string, flags: PersonFlags) => {
        const { source } = await ask<SourceAnswer>(pathOf(id), flags, { action })
        terminal.out(lineOf(source))
      })
  asPerson(group.command('set <id>'))
    .description('Proposes other settings of a source; another administrator confirms them.')
    .requiredOption('--settings <file>', 'a file of JSON with all of its settings')
    .option('--secret <name>', 'an entry of SOURCE_SECRETS for this kind and origin; left out: none')
    .action(async (id: string, { settings, secret, ...flags }: SetFlags) => {
      const { source } = await ask<SourceAnswer>(pathOf(id), flags, {
        action: 'set',
        settings: JSON.parse(await readFile(settings, 'utf8')) as unknown,
        ...(secret !== undefined && { secret }),
      })
      terminal.out(
        `Proposed. Nothing of ${source.id} changes until somebody else has looked at it and confirmed it: npm run remit -- source status ${source.id}`,
      )
    })
  asPerson(group.command('confirm <id>'))
    .description('Confirms a source, or other settings of one, that another administrator proposed.')
    .requiredOption('--digest <digest>', 'of what was proposed, as status says')
    .action(async (id: string, { digest, ...flags }: PersonFlags & { readonly digest: string }) => {
      const { source } = await ask<SourceAnswer>(pathOf(id), flags, { action: 'confirm', digest })
      terminal.out(lineOf(source))
    })
  asPerson(group.command('sync <id>'))
    .description('Has a source read now.')
    .option('--all', 'everything, not only what changed', false)
    .action(async (id: string, { all, ...flags }: PersonFlags & { readonly all: boolean }) => {
      const { source } = await ask<SourceAnswer>(pathOf(id), flags, { action: 'sync', all })
      terminal.out(lineOf(source))
    })
  asPerson(group.command('hook <id>'))
    .description(
      'Makes a hook, by which the source’s system has it read at once, and prints its secret once.',
    )
    .option('--end', 'no call counts from now on', false)
    .action(async (id: string, { end, ...flags }: PersonFlags & { readonly end: boolean }) => {
      const body = { action: end ? 'end_hook' : 'hook' }
      const { source, hook_secret: secret } = await ask<SourceAnswer>(pathOf(id), flags, body)
      if (secret !== undefined) terminal.out(secret)
      terminal.say(
        secret === undefined
          ? `No call wakes ${source.id} any more.`
          : `This secret signs calls to POST ${pathOf(id)}/hook. It is shown this once; another hook ends it.`,
      )
    })
  addPeopleCommands(group, { terminal, ask })
  asPerson(group.command('purge <id>'))
    .description('Deletes for good what the source does not have any more, however much it is.')
    .requiredOption('--documents <count>', 'how many are missing, as status says')
    .action(async (id: string, { documents, ...flags }: PersonFlags & { readonly documents: string }) => {
      const body = { action: 'purge', documents: Number(documents) }
      const { source } = await ask<SourceAnswer>(pathOf(id), flags, body)
      terminal.out(`${pluralize(source.missing, 'document')} of ${source.id} will be purged.`)
    })
}

function lineOf(source: Source): string {
  const { id, state, fresh, items, hidden, missing, problem, items_confirmed_at: confirmedAt } = source
  const { began_at: beganAt, ended_at: endedAt, failures } = source
  const isRead = state === 'active' && beganAt !== null && (endedAt === null || endedAt < beganAt)
  const parts = [
    state === 'active' && !fresh ? `active, ${unconfirmed(confirmedAt)}` : state,
    `${pluralize(items, 'item')}, ${hidden} hidden, ${missing} of them missing`,
    `permissions confirmed ${confirmedAt ?? 'never'}`,
    ...(isRead ? [`being read since ${beganAt}`] : []),
    ...(failures === 0 ? [] : [`${pluralize(failures, 'reading')} in a row stopped`]),
    ...(problem === null ? [] : [printable(problem)]),
  ]
  return `${id}  ${parts.join('; ')}`
}

const unconfirmed = (confirmedAt: string | null): string =>
  confirmedAt === null
    ? 'not read to its end yet: people read only what is confirmed already'
    : 'TOO OLD: nobody reads what was not confirmed lately'

const changeLines = ({ source, proposed_change: change }: SourceRead): readonly string[] =>
  change === null
    ? []
    : [
        `${change.proposed_by} proposes: ${source.kind} at ${change.origin}; settings: ${JSON.stringify(change.settings)}; credential: ${change.secret ?? 'none'}`,
        `confirm it: npm run remit -- source confirm ${source.id} --digest ${change.digest}`,
      ]

/** What two people agree on. */
const proposalLines = (source: Source): readonly string[] => [
  `${source.kind} at ${source.origin} into ${source.collections.join(', ')}, proposed by ${source.proposed_by}`,
  `settings: ${JSON.stringify(source.settings)}; credential: ${source.secret ?? 'none'}; at most ${pluralize(source.requests_per_minute, 'request')} a minute`,
  `read every ${source.poll_seconds} s, all of it every ${source.crawl_seconds} s; permissions count for ${source.permissions_max_age_seconds} s; purged after ${pluralize(source.purge_days, 'day')}`,
  ...(source.has_hook ? [`a hook wakes it, called last: ${source.hook_called_at ?? 'never'}`] : []),
  ...(source.state === 'proposed'
    ? [`confirm it: npm run remit -- source confirm ${source.id} --digest ${source.digest}`]
    : []),
]
