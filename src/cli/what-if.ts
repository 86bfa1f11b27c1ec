import { readFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError } from 'commander'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { type AsPersonDeps, personToken } from './as-person.ts'
import { bare, repeatable, typed } from './ids.ts'
import { createRemitHttp, problemOf } from './remit-http.ts'
import type { Terminal } from './terminal.ts'

/** What the command works with. */
export interface WhatIfCommandDeps extends AsPersonDeps {
  readonly terminal: Terminal
  readonly fetch: Fetch
  readonly publicUrl: string
}

interface Flags {
  readonly write: Tuple[]
  readonly delete: Tuple[]
  readonly model?: string
  readonly person: string[]
  readonly document: string[]
  readonly as?: string
  readonly token?: string
  readonly url?: string
  readonly json: boolean
}

interface Tuple {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: object
}

interface Difference {
  readonly count: number
  readonly people: number
  readonly documents: number
  readonly samples: readonly { readonly who: string; readonly document_id: string }[]
  readonly collections: readonly { readonly collection: string | null; readonly count: number }[]
}

interface Change {
  readonly gained: Difference
  readonly lost: Difference
}

interface Answer {
  readonly complete: boolean
  readonly limited_by: readonly string[]
  readonly can_read: Change
  readonly can_read_delegated: Change
  readonly asked: { readonly people: number; readonly agents: number; readonly questions: number }
  readonly unanswered: number
  readonly unchanged: { readonly writes: readonly Tuple[]; readonly deletes: readonly Tuple[] }
  readonly nobody_may_write: readonly Tuple[]
  readonly watermark: { readonly read_to: string; readonly tuples: number }
  readonly authorization_model_id: string
}

/** `what-if`: asks as a signed-in administrator, never with machine rights. */
export function addWhatIfCommand(program: Command, dependencies: WhatIfCommandDeps): void {
  const { terminal } = dependencies
  program
    .command('what-if')
    .description('Who would gain and lose which documents by a change. Nothing is changed.')
    .option(
      '--write <tuple>',
      '"user relation object", and an end (ISO 8601) where it has one; repeat for more',
      write,
      [],
    )
    .option('--delete <tuple>', '"user relation object"; repeat for more', remove, [])
    .option('--model <file>', 'a changed model; it takes security.write')
    .option('--person <user>', 'only about this person; repeat for more', repeatable(typed('user')), [])
    .option('--document <id>', 'only about this document; repeat for more', repeatable(bare('document')), [])
    .option(
      '--as <user>',
      'administrator of the demo who asks (lena where nobody is signed in; kim with --model)',
      bare('user'),
    )
    .option('--token <token>', 'access token of an administrator (default: REMIT_TOKEN, or your sign-in)')
    .option('--url <url>', 'address of the service')
    .option('--json', 'prints what the service answers', false)
    .action(async (flags: Flags) => {
      const answer = await ask(dependencies, flags)
      if (flags.json) return terminal.out(JSON.stringify(answer))
      for (const line of linesOf(answer)) terminal.out(printable(line))
    })
}

async function ask(dependencies: WhatIfCommandDeps, flags: Flags): Promise<Answer> {
  const { token, as: user, person: people, document: documents } = flags
  if (flags.write.length + flags.delete.length === 0 && flags.model === undefined)
    throw new Error('Say what is supposed to change: --write, --delete or --model.')
  const model = flags.model === undefined ? undefined : await readFile(flags.model, 'utf8')
  const body = {
    writes: flags.write,
    deletes: flags.delete,
    ...(model !== undefined && { model }),
    ...((people.length > 0 || documents.length > 0) && {
      question: { ...(people.length > 0 && { people }), ...(documents.length > 0 && { documents }) },
    }),
  }
  const url = (flags.url ?? dependencies.publicUrl).replace(/\/$/, '')
  const as =
    model === undefined
      ? { scope: 'security.read', userByDefault: 'lena' }
      : { scope: 'security.write', userByDefault: 'kim' }
  const http = createRemitHttp({
    url,
    token: () => personToken({ url, token, user, ...as }, dependencies),
    fetch: dependencies.fetch,
  })
  const response = await http.send('/what-if', () => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }))
  if (!response.ok) throw new Error(await problemOf(response))
  return (await response.json()) as Answer
}

function linesOf(answer: Answer): string[] {
  const { asked: size, can_read, can_read_delegated: delegated, unchanged, watermark } = answer
  return [
    ...(answer.complete ? [] : [`NOT COMPLETE (${answer.limited_by.join(', ')}): somebody may be missing.`]),
    ...unchanged.writes.map((tuple) => `Is so already: ${lineOf(tuple)}`),
    ...unchanged.deletes.map((tuple) => `Is not stored: ${lineOf(tuple)}`),
    ...answer.nobody_may_write.map((tuple) => `NOBODY MAY WRITE, by the allow-list: ${lineOf(tuple)}`),
    ...differenceLines('People gain', '+', can_read.gained),
    ...differenceLines('People lose', '-', can_read.lost),
    ...differenceLines('Agents gain', '+', delegated.gained),
    ...differenceLines('Agents lose', '-', delegated.lost),
    ...(answer.unanswered === 0
      ? []
      : [`${pluralize(answer.unanswered, 'question')} could not be answered, which denies.`]),
    `It can reach ${pluralize(size.people, 'person', 'people')} and ${pluralize(size.agents, 'agent')}: ${pluralize(size.questions, 'question')}, on ${pluralize(watermark.tuples, 'tuple')} read to ${watermark.read_to}. Nothing is changed.`,
  ]
}

function differenceLines(title: string, sign: string, difference: Difference): string[] {
  const { count, people, documents, samples, collections } = difference
  if (count === 0) return [`${title} nothing.`]
  const samplesShown = samples.slice(0, 20)
  return [
    `${title} ${count}: ${people} of them, ${pluralize(documents, 'document')}`,
    ...collections
      .slice(0, 10)
      .map(({ collection, count: inIt }) => `  ${inIt} in ${collection ?? 'no collection'}`),
    ...samplesShown.map(({ who: subject, document_id }) => `  ${sign} ${subject}  document:${document_id}`),
    ...(count > samplesShown.length ? [`  ${sign} and ${count - samplesShown.length} more`] : []),
  ]
}

const lineOf = ({ user, relation, object }: Tuple): string => `${user} ${relation} ${object}`

function tupleIn(text: string, fieldsMax: number): string[] {
  const fields = text.trim().split(/\s+/)
  if (fields.length < 3 || fields.length > fieldsMax)
    throw new InvalidArgumentError(
      'A tuple is "user relation object", as in "user:anne member group:finance".',
    )
  return fields
}

function write(text: string, previousTuples: readonly Tuple[]): Tuple[] {
  const [user = '', relation = '', object = '', expiry] = tupleIn(text, 4)
  const condition =
    expiry === undefined ? {} : { condition: { name: 'until', context: { expires_at: expiry } } }
  return [...previousTuples, { user, relation, object, ...condition }]
}

function remove(text: string, previousTuples: readonly Tuple[]): Tuple[] {
  const [user = '', relation = '', object = ''] = tupleIn(text, 3)
  return [...previousTuples, { user, relation, object }]
}

// An id is anybody's text, which a terminal would obey.
const printable = (line: string): string => line.replaceAll(/\p{C}/gu, '?')
