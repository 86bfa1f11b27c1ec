import type { WhatIfAnswer } from '@remit/contract/what-if'
import { useState } from 'preact/hooks'
import { Problem } from '../../api.ts'
import { counted } from '../../parts/counted.ts'
import { Heading } from '../../parts/heading.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import type { Section } from '../../section.ts'
import { asProblem, useConsole } from '../../use-answer.ts'
import { Effect } from '../model/effect.tsx'
import { ReplicaNote } from '../why/replica.tsx'
import '../model/model.css'
import { type Line, type Preset, presets, readLines } from './lines.ts'

/** `/what-if`, with `writes` and `deletes` as lines to begin with; nothing is asked before somebody says so. */
export const whatIfViews: Section = {
  path: '/what-if',
  title: 'What if',
  roles: ['security.read'],
  show: ({ query }) => (
    <WhatIf key={query.toString()} writes={query.get('writes') ?? ''} deletes={query.get('deletes') ?? ''} />
  ),
}

function WhatIf(props: { readonly writes: string; readonly deletes: string }) {
  const { api } = useConsole()
  const [writes, setWrites] = useState(props.writes)
  const [deletes, setDeletes] = useState(props.deletes)
  const [answer, setAnswer] = useState<WhatIfAnswer>()
  const [problem, setProblem] = useState<Problem>()
  const [isAsking, setAsking] = useState(false)

  function add(lines: ReturnType<Preset['lines']>): void {
    const joined = (text: string, addition: readonly string[] = []): string =>
      [text.trim(), ...addition].filter((line) => line !== '').join('\n')
    setWrites(joined(writes, lines.writes))
    setDeletes(joined(deletes, lines.deletes))
  }

  async function ask(): Promise<void> {
    const added = readLines(writes)
    const removed = readLines(deletes)
    const wrong = added.wrong ?? removed.wrong
    setProblem(undefined)
    setAnswer(undefined)
    if (wrong !== undefined) {
      setProblem(new Problem(422, { title: 'This line is no tuple', detail: wrong, code: 'invalid_request' }))
      return
    }
    setAsking(true)
    try {
      const keys = removed.lines.map(({ user, relation, object }) => ({ user, relation, object }))
      setAnswer(await api.post<WhatIfAnswer>('/what-if', { writes: added.lines, deletes: keys }))
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setAsking(false)
    }
  }

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
      <form
        class="what-if"
        onSubmit={(event) => {
          event.preventDefault()
          void ask()
        }}
      >
        <Lines title="If these tuples were added" value={writes} onInput={setWrites} />
        <Lines title="If these tuples were removed" value={deletes} onInput={setDeletes} />
        <button type="submit" class="main" disabled={isAsking || (writes + deletes).trim() === ''}>
          {isAsking ? 'Working it out …' : 'What would change?'}
        </button>
      </form>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {answer !== undefined && <Told answer={answer} />}
    </>
  )
}

const Lines = (props: {
  readonly title: string
  readonly value: string
  readonly onInput: (text: string) => void
}) => (
  <label>
    {props.title} <small class="soft">one a line: user relation object</small>
    <textarea
      rows={4}
      spellcheck={false}
      value={props.value}
      onInput={({ currentTarget }) => props.onInput(currentTarget.value)}
    />
  </label>
)

function PresetForm({
  preset,
  onAdd,
}: {
  readonly preset: Preset
  readonly onAdd: (lines: ReturnType<Preset['lines']>) => void
}) {
  return (
    <details class="more">
      <summary>{preset.title}</summary>
      <form
        class="line"
        onSubmit={(event) => {
          event.preventDefault()
          const fields = [...new FormData(event.currentTarget)].map(([name, value]) => [
            name,
            String(value).trim(),
          ])
          onAdd(preset.lines(Object.fromEntries(fields)))
        }}
      >
        {preset.fields.map(({ name, title, example }) => (
          <label key={name}>
            {title}
            <input
              type="text"
              name={name}
              placeholder={example}
              required
              autocomplete="off"
              spellcheck={false}
            />
          </label>
        ))}
        <button type="submit">Suppose it</button>
      </form>
    </details>
  )
}

const Unchanged = ({ lines, reason }: { readonly lines: readonly Line[]; readonly reason: string }) =>
  lines.length === 0 ? null : (
    <p class="warn">
      Changes nothing, since it {reason}:{' '}
      {lines.map(({ user, relation, object }) => `${user} ${relation} ${object}`).join('; ')}
    </p>
  )

const limits: Readonly<Record<string, string>> = {
  questions: 'there are too many to go through',
  time: 'there was no time to go through all',
  replica: 'the replica is behind OpenFGA',
}

function Told({ answer }: { readonly answer: WhatIfAnswer }) {
  const {
    complete: isComplete,
    limited_by,
    can_read,
    can_read_delegated,
    asked: askedPairs,
    unchanged,
    replica,
    txn,
  } = answer
  return (
    <section aria-labelledby="told">
      <h2 id="told">What would change</h2>
      <div role="status">
        {isComplete ? (
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
      <Effect canRead={can_read} delegated={can_read_delegated} />
      <ReplicaNote replica={replica} />
      <p class="soft">
        On record as <code>{txn}</code>
      </p>
    </section>
  )
}
