import { readFile } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { lentStates } from '../delegation/lending/lent.ts'
import { pluralize } from '../kernel/pluralize.ts'
import type { AdminClient } from './admin-client.ts'
import { type AsWhom, asWhom, type ExplainCommandDeps, sendAs } from './explain.ts'
import { anyType, bare, typed } from './ids.ts'
import { type NotHere, noneOr, printFacts, printList } from './listing.ts'
import { recordLines, type WireNames, type WireRecord, withName } from './record-lines.ts'

/** What the commands that read the record work with. */
export interface AuditCommandDeps extends ExplainCommandDeps {
  readonly admin: AdminClient
}

type Row = Readonly<Record<string, unknown>>
type Flags = AsWhom & Readonly<Record<string, unknown>>

interface VerifyFlags {
  readonly against?: string
  readonly resume: boolean
  readonly json: boolean
}

/** And how an id is taken: a service can be the subject too. */
const filters = {
  subject: anyType('user:anne', 'service:loader'),
  actor: typed('agent'),
  client: (input: string) => input,
  object: anyType('document:handbook/travel.md', 'delegation:d_1'),
  txn: (input: string) => input,
  event: (input: string) => input,
  decision: (input: string) => input,
  since: (input: string) => input,
  until: (input: string) => input,
}

interface RecordPage {
  readonly records: readonly (WireRecord & { readonly names: WireNames })[]
}

interface Thread {
  readonly steps: readonly WireRecord[]
  readonly names: WireNames
}

interface Reader extends Row {
  readonly subject: string
  readonly actors: readonly string[]
  readonly client: string
}

/**
 * `audit`: questions are asked as a signed-in administrator; whether the record is whole, and what takes from it, is the
 * machine's.
 */
export function addAuditCommands(
  program: Command,
  dependencies: AuditCommandDeps,
  outcome: { ok: boolean },
): void {
  const { admin, terminal } = dependencies
  const audit = program.command('audit').description('Asks the record, and looks whether it is whole.')

  const list = audit
    .command('list')
    .description('Prints records, newest first.')
    .option('--limit <n>', 'how many, at most 200', '50')
    .option('--all', 'every record that fits, as lines', false)
    .addOption(
      new Option('--format <format>', 'of the lines').choices(['json', 'ocsf', 'cef']).default('json'),
    )
  for (const [name, parse] of Object.entries(filters)) list.option(`--${name} <${name}>`, `by ${name}`, parse)
  asWhom(list).action(async (flags: Flags) => {
    const query = queryOf(flags, Object.keys(filters))
    if (flags['all'] === true) {
      query.set('format', String(flags['format']))
      const response = await sendAs(dependencies, flags, `/audit?${query}`, undefined, 'application/x-ndjson')
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
    for (const { names, ...record } of records) printRecord(record, names)
  })

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
    sayIncomplete(answer.complete)
  })

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
    sayIncomplete(answer.complete)
    if (answer.asked_today !== undefined && answer.asked_today < answer.documents.length)
      terminal.say(`Only the newest ${answer.asked_today} were asked about today.`)
  })

  asWhom(
    audit.command('thread <txn>').description('Everything of one action, from its first record to its last.'),
  ).action(async (txn: string, flags: Flags) => {
    const query = new URLSearchParams({ txn })
    const { steps, names } = await ask<Thread>(dependencies, flags, `/audit/thread?${query}`)
    if (flags.json || steps.length === 0)
      return printList(terminal, steps, {
        json: true,
        whenEmpty: `Nothing is on record under ${txn}.`,
        name: 'step',
      })
    // That it is of this action goes without saying.
    for (const { txn: its, ...step } of steps)
      printRecord({ ...step, ...(its !== undefined && its !== txn && { txn: its }) }, names)
    const grounds = await groundsOf(dependencies, flags, steps)
    if (grounds.length > 0) terminal.out('\nIt rests on')
    for (const { names: its, ...record } of grounds) printRecord(record, its)
  })

  asWhom(
    audit
      .command('delegations')
      .description('Who lent what to which agent, newest first, ended ones too.')
      .option('--delegation <id>', 'this one', bare('delegation'))
      .option('--subject <user>', 'who lent it', typed('user'))
      .option('--agent <agent>', 'to whom it was lent or may be passed on', typed('agent'))
      .addOption(new Option('--state <state>', 'what became of it').choices(lentStates))
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

  audit
    .command('verify')
    .description('Compares the whole record with its seals: what was edited, removed or swapped, and where.')
    .option('--against <file>', 'heads that were kept elsewhere (remit audit heads)')
    .option('--resume', 'only from the last of those heads on: what is before it was verified then', false)
    .option('--json', 'prints the answer as JSON', false)
    .action(async ({ against, resume, json }: VerifyFlags) => {
      if (resume && against === undefined)
        throw new Error('--resume goes on from a kept head: --against FILE.')
      const heads = against === undefined ? [] : chosen(await readFile(against, 'utf8'))
      const { findings, ...summary } = (await admin.run('audit_verify', { heads, resume })) as Row & {
        findings: readonly Row[]
        found: number
      }
      outcome.ok &&= summary.found === 0
      if (json) return terminal.out(JSON.stringify({ ...summary, findings }))
      printFacts(terminal, summary, false)
      for (const finding of findings) terminal.out(findingLine(finding))
      terminal.say(summary.found === 0 ? 'The record is whole.' : 'The record is NOT whole.')
    })
  audit
    .command('heads')
    .description('Prints the heads of the seals, one line of JSON each, to be kept elsewhere.')
    .option('--after <seal>', 'only those after this seal', '0')
    .action(async ({ after }: { readonly after: string }) => {
      for (let afterSeal = Number(after); ; ) {
        const { heads } = (await admin.run('audit_heads', { after: afterSeal })) as { heads: readonly Row[] }
        for (const head of heads) terminal.out(JSON.stringify(head))
        const lastHead = heads.at(-1)
        if (lastHead === undefined) return
        afterSeal = Number(lastHead['seal'])
      }
    })
  audit
    .command('erase <user>')
    .description('Takes a person out of the record for good: their key is destroyed, the seals stay whole.')
    .option('--yes', 'does it; without it nothing is done', false)
    .action(async (user: string, { yes: isConfirmed }: { readonly yes: boolean }) => {
      const subject = typed('user')(user)
      if (!isConfirmed) throw new Error(`This cannot be undone. To erase ${subject} from the record: --yes`)
      const { alias, records } = await admin.run('audit_erase', { subject })
      terminal.say(
        `${pluralize(Number(records), 'record says', 'records say')} ${String(alias)} from now on.`,
      )
    })

  function printRecord(record: WireRecord, names: WireNames): void {
    for (const line of recordLines(record, names)) terminal.out(line)
  }

  function sayIncomplete(isComplete: boolean): void {
    if (!isComplete) terminal.say('There are more than are listed: narrow it by --since and --until.')
  }
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
  dependencies: ExplainCommandDeps,
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

async function ask<T>(dependencies: ExplainCommandDeps, flags: AsWhom, path: string): Promise<T> {
  return (await (await sendAs(dependencies, flags, path)).json()) as T
}

const chosenMax = 100

/** The last head holds all before it; others between tell from where on it differs. */
function chosen(text: string): unknown[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  if (lines.length === 0) throw new Error('The file holds no heads.')
  const step = Math.max(1, Math.ceil(lines.length / (chosenMax - 1)))
  const thinned = lines.filter((_, index) => index % step === 0)
  const lastLine = lines.at(-1) ?? ''
  return [...thinned, ...(thinned.at(-1) === lastLine ? [] : [lastLine])].map((line, index) => {
    try {
      return JSON.parse(line) as unknown
    } catch {
      throw new Error(`Line ${index * step + 1} of the file is not JSON.`)
    }
  })
}

function findingLine({ kind, seal, record, other: otherRecord, detail }: Row): string {
  const clauses = [
    record === undefined ? undefined : `record ${String(record)}`,
    otherRecord === undefined ? undefined : `and record ${String(otherRecord)}`,
    seal === undefined ? undefined : `(seal ${String(seal)})`,
    detail === undefined ? undefined : `: ${String(detail)}`,
  ].filter((clause) => clause !== undefined)
  return `${String(kind).replaceAll('_', ' ')}: ${clauses.join(' ')}`
}
