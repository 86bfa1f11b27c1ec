import type { Change, ChangeSide } from '@remit/contract/model'
import type { WhatIfAnswer } from '@remit/contract/what-if'
import { useState } from 'preact/hooks'
import { Problem } from '../api.ts'
import { counted } from '../parts/counted.ts'
import { agentId, Field, Form, type Inputs, Lines } from '../parts/form.tsx'
import { Heading } from '../parts/heading.tsx'
import { Part } from '../parts/part.tsx'
import { ProblemBox } from '../parts/problem.tsx'
import { useAction, useConsole } from '../use-answer.ts'
import { ReplicaNote } from './why/explain.tsx'
import './model/model.css'

/** One tuple that a what-if writes or deletes. */
interface Line {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: { readonly name: 'until'; readonly context: { readonly expires_at: string } }
}

/**
 * `user:anne member group:finance`, or `… until 2027-01-01T00:00:00Z`, one a line. Throws `Problem` at a line
 * that is neither.
 */
function readLines(text: string): readonly Line[] {
  const lines: Line[] = []
  for (const written of text.split('\n').map((line) => line.trim())) {
    if (written === '') continue
    const [user, relation, object, condition, expires_at, ...extras] = written.split(/\s+/)
    const isWhole =
      user !== undefined && relation !== undefined && object !== undefined && extras.length === 0
    const isTimed = condition === 'until' && expires_at !== undefined
    if (!isWhole || (condition !== undefined && !isTimed))
      throw new Problem(422, { title: 'This line is no tuple', detail: written, code: 'invalid_request' })
    lines.push({
      user,
      relation,
      object,
      ...(isTimed && { condition: { name: 'until', context: { expires_at } } }),
    })
  }
  return lines
}

/** What people wonder about most, as the tuples that it comes down to. */
interface Preset {
  readonly title: string
  readonly fields: readonly { readonly name: string; readonly title: string; readonly example: string }[]
  readonly lines: (fields: Inputs) => Supposed
}

interface Supposed {
  readonly writes?: readonly string[]
  readonly deletes?: readonly string[]
}

/** Changes that a form can fill in. */
const presets: readonly Preset[] = [
  {
    title: 'Take somebody out of a group',
    fields: [
      { name: 'user', title: 'Who', example: 'user:anne' },
      { name: 'group', title: 'Group', example: 'group:finance' },
    ],
    lines: ({ user, group }) => ({ deletes: [`${user} member ${group}`] }),
  },
  {
    title: 'Lend something to an agent',
    fields: [
      { name: 'user', title: 'Who lends', example: 'user:anne' },
      { name: 'object', title: 'What', example: 'collection:handbook' },
      { name: 'agent', title: 'To agent', example: 'research-bot' },
    ],
    lines: ({ user, object, agent }) => ({
      writes: [
        `${user} delegator delegation:supposed until 2999-01-01T00:00:00Z`,
        `agent:${agentId(agent ?? '')} agent delegation:supposed`,
        `delegation:supposed delegated_to ${object}`,
      ],
    }),
  },
  {
    title: 'Mark something sensitive',
    fields: [{ name: 'object', title: 'What', example: 'folder:customers/pricing' }],
    lines: ({ object }) => ({ writes: [`user:* sensitive ${object}`] }),
  },
]

/**
 * `/what-if`, with `writes` and `deletes` as lines to begin with; nothing is asked before somebody says so.
 */
export function WhatIf(props: { readonly writes: string; readonly deletes: string }) {
  const { api } = useConsole()
  const [writes, setWrites] = useState(props.writes)
  const [deletes, setDeletes] = useState(props.deletes)
  const [answer, setAnswer] = useState<WhatIfAnswer>()
  const { doing, problem, run } = useAction()

  function add(lines: Supposed): void {
    const joined = (text: string, addition: readonly string[] = []): string =>
      [text.trim(), ...addition].filter((line) => line !== '').join('\n')
    setWrites(joined(writes, lines.writes))
    setDeletes(joined(deletes, lines.deletes))
  }

  async function ask(): Promise<void> {
    setAnswer(undefined)
    const added = readLines(writes)
    const removed = readLines(deletes)
    const keys = removed.map(({ user, relation, object }) => ({ user, relation, object }))
    setAnswer(await api.post<WhatIfAnswer>('/what-if', { writes: added, deletes: keys }))
  }

  const area = { hint: 'one a line: user relation object', rows: 4 }
  return (
    <>
      <Heading title="What if?" />
      <p class="soft">
        Who would gain and who would lose which documents, if tuples were added or removed. Nothing is changed
        by asking; that it was asked is on record.
      </p>
      <div class="presets">
        {presets.map((preset) => (
          <PresetForm preset={preset} onAdd={add} key={preset.title} />
        ))}
      </div>
      <Form class="what-if" onSubmit={() => run(ask)}>
        <Lines title="If these tuples were added" {...area} text={writes} onInput={setWrites} />
        <Lines title="If these tuples were removed" {...area} text={deletes} onInput={setDeletes} />
        <button type="submit" class="main" disabled={doing !== undefined || (writes + deletes).trim() === ''}>
          {doing !== undefined ? 'Working it out …' : 'What would change?'}
        </button>
      </Form>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {answer !== undefined && <Told answer={answer} />}
    </>
  )
}

const PresetForm = (props: { readonly preset: Preset; readonly onAdd: (lines: Supposed) => void }) => (
  <details class="more">
    <summary>{props.preset.title}</summary>
    <Form class="line" onSubmit={(fields) => props.onAdd(props.preset.lines(fields))}>
      {props.preset.fields.map((field) => (
        <Field key={field.name} {...field} isNeeded />
      ))}
      <button type="submit">Suppose it</button>
    </Form>
  </details>
)

const Unchanged = (props: { readonly lines: WhatIfAnswer['nobody_may_write']; readonly reason: string }) =>
  props.lines.length === 0 ? null : (
    <p class="warn">
      Changes nothing, since it {props.reason}:{' '}
      {props.lines.map(({ user, relation, object }) => `${user} ${relation} ${object}`).join('; ')}
    </p>
  )

const limits: Readonly<Record<string, string>> = {
  questions: 'there are too many to go through',
  time: 'there was no time to go through all',
  replica: 'the replica is behind OpenFGA',
}

function Told({ answer }: { readonly answer: WhatIfAnswer }) {
  const { limited_by, asked: askedPairs, unchanged } = answer
  return (
    <Part id="told" title="What would change">
      <div role="status">
        {answer.complete ? (
          <p>
            Checked everyone affected: {counted(askedPairs.people, 'person', 'people')},{' '}
            {counted(askedPairs.agents, 'agent')}.
          </p>
        ) : (
          <p class="warn">
            Somebody may be missing, since {limited_by.map((limit) => limits[limit] ?? limit).join(' and ')}:
            these are at least as many.
          </p>
        )}
      </div>
      <Unchanged lines={unchanged.writes} reason="is stored already" />
      <Unchanged lines={unchanged.deletes} reason="is not stored" />
      <Unchanged
        lines={answer.nobody_may_write}
        reason="may be written by nobody: the allow-list has no row for it"
      />
      <Effect canRead={answer.can_read} delegated={answer.can_read_delegated} />
      <ReplicaNote replica={answer.replica} />
      <p class="soft">
        On record as <code>{answer.txn}</code>
      </p>
    </Part>
  )
}

/** Who gains and who loses, by themselves and through agents. */
export function Effect(props: { readonly canRead: Change; readonly delegated: Change }) {
  const { canRead, delegated } = props
  return (
    <div class="effect">
      <OneSide title="People gain" change={canRead.gained} />
      <OneSide title="People lose" change={canRead.lost} />
      <OneSide title="Agents gain" change={delegated.gained} />
      <OneSide title="Agents lose" change={delegated.lost} />
    </div>
  )
}

function OneSide({ title, change }: { readonly title: string; readonly change: ChangeSide }) {
  const { count, people, documents, samples } = change
  return (
    <section class={count === 0 ? 'soft' : undefined}>
      <h3>{title}</h3>
      <p class="count">
        <strong>{count}</strong> {count === 0 ? '' : `· ${people} of them, ${counted(documents, 'document')}`}
      </p>
      {samples.length > 0 && (
        <ul>
          {samples.map(({ who: asker, document_id: document }) => (
            <li key={`${asker} ${document}`}>
              {asker}: <code>{document}</code>
            </li>
          ))}
        </ul>
      )}
      {samples.length < count && <p class="soft">{count - samples.length} more</p>}
    </section>
  )
}
