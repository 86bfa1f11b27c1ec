import { readFile } from 'node:fs/promises'
import type { WhatIfAnswer } from '@remit/contract/what-if'
import { type Command, InvalidArgumentError } from 'commander'
import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import { type AskDeps, askAs } from './as-person.ts'
import { type AsWhom, asWhom, readerOf } from './explain.ts'
import { bare, repeatable, typed } from './ids.ts'
import { changesToText, unansweredToText, when } from './model-plan.ts'

interface Flags extends AsWhom {
  readonly write: Tuple[]
  readonly delete: Tuple[]
  readonly model?: string
  readonly person: string[]
  readonly document: string[]
}

interface Tuple {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: object
}

/** `what-if`: asks as a signed-in administrator, never with machine rights. */
export function addWhatIfCommand(program: Command, dependencies: AskDeps): void {
  const { terminal } = dependencies
  const command = program
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
  asWhom(command, 'lena where nobody is signed in; kim with --model').action(async (flags: Flags) => {
    const answer = await ask(dependencies, flags)
    if (flags.json) return terminal.out(JSON.stringify(answer))
    for (const line of linesOf(answer)) terminal.out(printable(line))
  })
}

async function ask(dependencies: AskDeps, flags: Flags): Promise<WhatIfAnswer> {
  const { person: people, document: documents } = flags
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
  const asker = readerOf(flags)
  return askAs(
    dependencies,
    model === undefined ? asker : { ...asker, scope: 'security.write', userByDefault: 'kim' },
    '/what-if',
    { body },
  )
}

function linesOf(answer: WhatIfAnswer): string[] {
  const { asked: size, unchanged, watermark } = answer
  return [
    ...(answer.complete ? [] : [`NOT COMPLETE (${answer.limited_by.join(', ')}): somebody may be missing.`]),
    ...unchanged.writes.map((tuple) => `Is so already: ${lineOf(tuple)}`),
    ...unchanged.deletes.map((tuple) => `Is not stored: ${lineOf(tuple)}`),
    ...answer.nobody_may_write.map((tuple) => `NOBODY MAY WRITE, by the allow-list: ${lineOf(tuple)}`),
    ...changesToText(answer, ({ samples, collections }) => ({
      samples: samples.slice(0, 20),
      places: collections
        .slice(0, 10)
        .map(({ collection, count }) => `  ${count} in ${collection ?? 'no collection'}`),
    })),
    ...when(answer.unanswered > 0, unansweredToText(answer.unanswered)),
    `It can reach ${pluralize(size.people, 'person', 'people')} and ${pluralize(size.agents, 'agent')}: ${pluralize(size.questions, 'question')}, on ${pluralize(watermark.tuples, 'tuple')} read to ${watermark.read_to}. Nothing is changed.`,
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
