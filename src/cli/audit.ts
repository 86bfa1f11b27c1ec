import { type Thread, threadAnswer } from '@remit/contract/record-questions'
import { type Command, Option } from 'commander'
import { listedDelegationStates } from '../delegation/lending/delegation-list.ts'
import { printable } from '../kernel/printable.ts'
import type { AdminClient } from './admin-client.ts'
import { type AskDeps, askAs, sendAs } from './as-person.ts'
import { addSealCommands } from './audit-seals.ts'
import { type AsWhom, asWhom, readerOf } from './explain.ts'
import { anyType, bare, typed } from './ids.ts'
import { type NotHere, noneOr, printList } from './listing.ts'
import { recordLines, type WireNames, type WireRecord, withName } from './record-lines.ts'
import type { Terminal } from './terminal.ts'

/** What the commands that read the record work with. */
export interface AuditCommandDeps extends AskDeps {
  readonly admin: AdminClient
}

type Row = Readonly<Record<string, unknown>>
type Flags = AsWhom & Readonly<Record<string, unknown>>

/** And how an id is taken: a service can be the subject too. */
const filters = {
  subject: anyType('user:anne', 'service:loader'),
  actor: typed('agent'),
  client: (input: string) => input,
  object: anyType('document:handbook/travel.md', 'delegation:d_1'),
  txn: (input: string) => input,
  trace: (input: string) => input,
  event: (input: string) => input,
  decision: (input: string) => input,
  since: (input: string) => input,
  until: (input: string) => input,
}

interface RecordPage {
  readonly records: readonly (WireRecord & { readonly names: WireNames })[]
}

interface Reader extends Row {
  readonly subject: string
  readonly actors: readonly string[]
  readonly client: string
}

/**
 * `audit`: questions are asked as a signed-in administrator; whether the record is whole, and what takes from
 * it, is the machine's.
 */
export function addAuditCommands(
  program: Command,
  dependencies: AuditCommandDeps,
  outcome: { ok: boolean },
): void {
  const audit = program.command('audit').description('Asks the record, and looks whether it is whole.')
  addList(audit, dependencies)
  addReaders(audit, dependencies)
  addReads(audit, dependencies)
  addThread(audit, dependencies)
  addDelegations(audit, dependencies)
  addReach(audit, dependencies)
  addSealCommands(audit, dependencies, outcome)
}

function addList(audit: Command, dependencies: AuditCommandDeps): void {
  const { terminal } = dependencies
  const list = audit
    .command('list')
    .description('Prints records, newest first.')
    .option('--limit <n>', 'how many, at most 200', '50')
    .option('--all', 'every record that fits, as lines', false)
  for (const [name, parse] of Object.entries(filters)) list.option(`--${name} <${name}>`, `by ${name}`, parse)
  asWhom(list).action(async (flags: Flags) => {
    const query = queryOf(flags, Object.keys(filters))
    if (flags['all'] === true) {
      const response = await sendAs(dependencies, readerOf(flags), `/audit?${query}`, {
        accept: 'application/x-ndjson',
      })
      const decoder = new TextDecoder()
      for await (const bytes of response.body ?? []) {
        const text = decoder.decode(bytes, { stream: true })
        terminal.write(text)
      }
      return
    }
    query.set('limit', String(flags['limit']))
    const { records } = await ask<RecordPage>(dependencies, flags, `/audit?${query}`)
    if (flags.json || records.length === 0)
      return printList(terminal, records, {
        json: true,
        whenEmpty: 'Nothing on record fits.',
        name: 'record',
      })
    for (const { names, ...record } of records) printRecord(terminal, record, names)
  })
}

function addReaders(audit: Command, dependencies: AuditCommandDeps): void {
  const { terminal } = dependencies
  asWhom(
    spanned(audit.command('readers <document>')).description(
      'Who was given a document, and through which agents.',
    ),
  ).action(async (document: string, flags: Flags) => {
    const query = queryOf(flags, ['since', 'until'])
    query.set('document', bare('document')(document))
    const answer = await ask<
      NotHere & {
        readers: readonly Reader[]
        names: WireNames
        complete: boolean
      }
    >(dependencies, flags, `/audit/readers?${query}`)
    const named = answer.readers.map(({ subject, actors, client, ...member }) => ({
      subject: withName(subject, answer.names),
      by: actors.length === 0 ? 'themselves' : actors.map((actor) => withName(actor, answer.names)),
      client: withName(client, answer.names),
      ...member,
    }))
    printList(terminal, flags.json ? answer.readers : named, {
      json: flags.json,
      whenEmpty: noneOr('Nobody, as far as the record goes.', answer),
      name: 'subject',
    })
    sayIncomplete(terminal, answer.complete)
  })
}

function addReads(audit: Command, dependencies: AuditCommandDeps): void {
  const { terminal } = dependencies
  asWhom(
    spanned(audit.command('reads <user>'))
      .description('What a person was given: by an agent, or themselves.')
      .option('--agent <agent>', 'through which', typed('agent'))
      .option('--today', 'asks of each whether it would be given today', false),
  ).action(async (subject: string, flags: Flags) => {
    const query = queryOf(flags, ['agent', 'since', 'until'])
    query.set('subject', typed('user')(subject))
    if (flags['today'] === true) query.set('today', 'true')
    const answer = await ask<
      NotHere & {
        documents: readonly Row[]
        complete: boolean
        asked_today?: number
      }
    >(dependencies, flags, `/audit/reads?${query}`)
    printList(terminal, answer.documents, {
      json: flags.json,
      whenEmpty: noneOr('Nothing, as far as the record goes.', answer),
      name: 'document_id',
    })
    sayIncomplete(terminal, answer.complete)
    if (answer.asked_today !== undefined && answer.asked_today < answer.documents.length)
      terminal.say(`Only the newest ${answer.asked_today} were asked about today.`)
  })
}

function addThread(audit: Command, dependencies: AuditCommandDeps): void {
  const { terminal } = dependencies
  asWhom(
    audit
      .command('thread <id>')
      .description('Everything of one action (its txn) or of one trace, from the first record to the last.'),
  ).action(async (id: string, flags: Flags) => {
    const query = new URLSearchParams({ txn: id })
    const thread = await ask<Thread>(dependencies, flags, `/audit/thread?${query}`)
    const { steps } = thread
    printThread(terminal, thread, { id, json: flags.json })
    if (flags.json) return
    const grounds = await groundsOf(dependencies, flags, steps)
    if (grounds.length > 0) terminal.out('\nIt rests on')
    for (const { names: its, ...record } of grounds) printRecord(terminal, record, its)
  })
}

/** What `remit trace` is answered. */
export const traceForm = threadAnswer.pick({ steps: true, complete: true })

/** The steps of an action or a trace. */
export function printThread(
  terminal: Terminal,
  {
    steps,
    complete: isComplete,
    names = {},
  }: {
    readonly steps: readonly WireRecord[]
    readonly complete: boolean
    readonly names?: WireNames
  },
  { id, json }: { readonly id: string; readonly json: boolean },
): void {
  if (!isComplete)
    terminal.say(
      `There are more than are listed: ${fullLists(id, steps)
        .map((option) => printable(`audit list ${option} --all`))
        .join(', ')}`,
    )
  if (json || steps.length === 0)
    return printList(terminal, steps, {
      json: true,
      whenEmpty: `Nothing is on record under ${id}.`,
      name: 'step',
    })
  // That it is of this action goes without saying.
  for (const { txn, trace_id: trace, ...step } of steps)
    printRecord(
      terminal,
      {
        ...step,
        ...(txn !== id && txn !== undefined && { txn }),
        ...(trace !== id && trace !== undefined && { trace_id: trace }),
      },
      names,
    )
}

/** Which lists have what is cut: an action's own records come first, so others are listed once those are. */
const fullLists = (id: string, steps: readonly WireRecord[]): readonly string[] =>
  steps.every(({ txn }) => txn === id)
    ? [`--txn ${id}`]
    : [...new Set(steps.flatMap(({ trace_id: trace }) => trace ?? []))].map((trace) => `--trace ${trace}`)

function addDelegations(audit: Command, dependencies: AuditCommandDeps): void {
  const { terminal } = dependencies
  asWhom(
    audit
      .command('delegations')
      .description('Who lent what to which agent, newest first, ended ones too.')
      .option('--delegation <id>', 'this one', bare('delegation'))
      .option('--subject <user>', 'who lent it', typed('user'))
      .option('--agent <agent>', 'to whom it was lent or may be passed on', typed('agent'))
      .addOption(new Option('--state <state>', 'what became of it').choices(listedDelegationStates))
      .option('--limit <n>', 'how many, at most 200', '100')
      .option('--cursor <cursor>', 'the page after this one'),
  ).action(async (flags: Flags) => {
    const query = queryOf(flags, ['delegation', 'subject', 'agent', 'state', 'limit', 'cursor'])
    const { delegations, next_cursor: nextCursor } = await ask<{
      delegations: readonly Row[]
      next_cursor?: string
    }>(dependencies, flags, `/audit/delegations?${query}`)
    printList(terminal, delegations, {
      json: flags.json,
      whenEmpty: 'No delegation fits.',
      name: 'delegation',
    })
    if (nextCursor !== undefined) terminal.say(`There are more: --cursor ${nextCursor}`)
  })
}

function addReach(audit: Command, dependencies: AuditCommandDeps): void {
  const { terminal } = dependencies
  asWhom(
    audit
      .command('reach <agent>')
      .description('What an agent reads, day by day, and whether the last day is unlike the ones before.')
      .option('--until <time>', 'the day to judge, ISO 8601 (default: today)'),
  ).action(async (agent: string, flags: Flags) => {
    const query = queryOf(flags, ['until'])
    query.set('agent', typed('agent')(agent))
    const answer = await ask<Row & { days: readonly Row[]; measures: readonly Row[] }>(
      dependencies,
      flags,
      `/audit/reach?${query}`,
    )
    if (flags.json) return terminal.out(JSON.stringify(answer))
    printList(terminal, answer.days, { json: false, whenEmpty: 'It was given nothing.', name: 'day' })
    for (const { name, last: latest, median, threshold, unusual } of answer.measures)
      terminal.out(
        `${String(name).replaceAll('_', ' ')}: ${String(latest)}, usually ${String(median)}, unusual over ${String(threshold)}${unusual === true ? ' — UNUSUAL' : ''}`,
      )
    if (answer['unusual'] === null)
      terminal.say('Fewer than 7 days with anything read: nothing to compare with.')
  })
}

function printRecord(terminal: Terminal, record: WireRecord, names: WireNames): void {
  for (const line of recordLines(record, names)) terminal.out(line)
}

function sayIncomplete(terminal: Terminal, isComplete: boolean): void {
  if (!isComplete) terminal.say('There are more than are listed: narrow it by --since and --until.')
}

const spanned = (command: Command): Command =>
  command
    .option('--since <time>', 'from here on, ISO 8601')
    .option('--until <time>', 'and before here, ISO 8601')

function queryOf(flags: Flags, names: readonly string[]): URLSearchParams {
  const query = new URLSearchParams()
  for (const name of names) if (flags[name] !== undefined) query.set(name, String(flags[name]))
  return query
}

/** How each delegation of an action came about, and the model that was in force when something was given. */
async function groundsOf(
  dependencies: AskDeps,
  flags: AsWhom,
  steps: readonly WireRecord[],
): Promise<RecordPage['records']> {
  const delegations = new Set(steps.flatMap(({ delegation }) => delegation ?? []))
  const modelStep = steps.findLast(({ detail }) => detail['model_id'] !== undefined)
  const filters = [
    ...[...delegations].map((id) => ({ object: `delegation:${id}`, event: 'delegation_made' })),
    ...(modelStep === undefined ? [] : [{ event: 'model_activated', until: modelStep.time, limit: '1' }]),
  ]
  const pages: RecordPage[] = []
  for (const filter of filters)
    pages.push(await ask(dependencies, flags, `/audit?${new URLSearchParams(filter)}`))
  const stepKeys = new Set(steps.map(({ time, event }) => `${time} ${event}`))
  return pages
    .flatMap(({ records }) => records)
    .filter(({ time, event }) => !stepKeys.has(`${time} ${event}`))
    .toSorted((a, b) => a.time.localeCompare(b.time))
}

const ask = <T>(dependencies: AskDeps, flags: AsWhom, path: string): Promise<T> =>
  askAs(dependencies, readerOf(flags), path)
