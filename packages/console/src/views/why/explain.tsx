import type { Explained, Reason, Replica } from '@remit/contract/explain'
import './why.css'
import './tree.css'
import type { ComponentChildren } from 'preact'
import { Asked } from '../../parts/async-answer.tsx'
import { AskForm, Field, type Inputs } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { Time } from '../../parts/time.tsx'
import { DelegationField } from '../delegations/field.tsx'

const states: Readonly<Record<Replica['state'], string>> = {
  ready: '',
  building: 'The index is being built: there is nothing to show from it yet.',
  behind: 'The index is behind OpenFGA: what is shown from it may be old.',
  other_model: 'The index follows another model than the one in force.',
}

const relations = ['can_read', 'can_read_delegated', 'can_be_told', 'viewer', 'owner', 'blocked', 'member']

/**
 * `/explain?user=…&relation=…&object=…`, with `agent` and `delegation` for an agent; asked as soon as it is
 * opened.
 */
export function Explain({ inputs }: { readonly inputs: Inputs }) {
  const isAsked = ['user', 'relation', 'object'].every((name) => inputs[name] !== undefined)
  const { grants, ...otherInputs } = inputs
  const body = { ...otherInputs, ...(grants !== undefined && { grants: grants.split(/[\s,]+/) }) }
  return (
    <>
      <Heading title="Why may they, or why not?" />
      <AskForm path="/explain" button="Ask why">
        <Field name="user" title="Who" inputs={inputs} example="user:anne" isNeeded />
        <Field name="relation" title="Has" inputs={inputs} example="can_read" isNeeded choices={relations} />
        <Field name="object" title="Of" inputs={inputs} example="document:handbook/welcome.md" isNeeded />
        <details class="more" open={['agent', 'grants', 'at'].some((name) => inputs[name] !== undefined)}>
          <summary>Through an agent, or by another clock</summary>
          <div class="line">
            <Field name="agent" title="Agent" inputs={inputs} example="research-bot" />
            <DelegationField chosen={inputs['delegation']} hint="that was lent" />
            <Field name="grants" title="Approvals" hint="by commas" inputs={inputs} example="g_…" />
            <Field
              name="at"
              title="Clock"
              hint="for what ends"
              inputs={inputs}
              example="2027-01-01T00:00:00Z"
            />
          </div>
        </details>
      </AskForm>
      {isAsked && (
        <Asked<Explained> path="/explain" body={body} subject="the reason">
          {(explained) => <Why explained={explained} isByClock={inputs['at'] !== undefined} />}
        </Asked>
      )}
    </>
  )
}

function Why({ explained, isByClock }: { readonly explained: Explained; readonly isByClock: boolean }) {
  const { decision, in_words, registry, closed, error, reason, cut, replica, at: time } = explained
  // Whatever OpenFGA says, nothing is given then: its yes in the place of the answer was taken for one.
  const keptBy = closed ?? (registry?.allows === false ? registry.in_words : undefined)
  const isKept = keptBy !== undefined
  return (
    <>
      <NeverHere of={explained} />
      <section class={`answer ${isKept ? 'denied' : decision}`} aria-live="polite">
        <p class="said">
          <Word verdict={isKept ? 'denied' : decision} /> {keptBy ?? in_words}
        </p>
        {isKept && (
          <p>
            OpenFGA, by tuples alone: <Word verdict={decision} /> {in_words}
          </p>
        )}
        {registry?.allows === true && <p>{registry.in_words}</p>}
        {isByClock && <p class="warn">By the clock of {time}, on today’s tuples: this is no history.</p>}
        {error !== undefined && <p class="bad">{error}</p>}
        {explained.sides !== undefined && <Sides parties={explained.sides} />}
      </section>
      <Agreement explained={explained} />
      <ReplicaNote replica={replica} />
      <h2>Tuple by tuple</h2>
      {reason === null ? <p>No tree: the index cannot be used now.</p> : <ReasonTree reason={reason} />}
      {cut > 0 && <p class="soft">{cut} more branches are not shown.</p>}
      <p class="soft">
        Model <code>{explained.authorization_model_id}</code> · on record as <code>{explained.txn}</code>
      </p>
    </>
  )
}

/** Outcome of a check; `error` is none that could be had. */
type Verdict = Explained['decision']

const verdictWords: Readonly<Record<Verdict, string>> = {
  allowed: 'Yes.',
  denied: 'No.',
  error: 'Undecided.',
}

const Word = ({ verdict }: { readonly verdict: Verdict }) => <strong>{verdictWords[verdict]}</strong>

/** OpenFGA's word beside that of the index, from which the tree comes. */
function Agreement(props: { readonly explained: Explained }) {
  const { decision, explained, agrees, registry } = props.explained
  return (
    <>
      <p>
        Decision: {decision} (OpenFGA).
        {registry?.allows === false && ' The registry of agents refuses it all the same.'}
        {explained !== null &&
          ` The tree below comes from the index, which ${agrees === true ? 'agrees' : `says: ${explained}`}.`}
      </p>
      {agrees === false && (
        <p class="problem" role="alert">
          The index and OpenFGA disagree: the tree is not the reason for the decision.
        </p>
      )}
    </>
  )
}

const sideNames = {
  person: 'The person may read it',
  delegation: 'What was lent is in force',
  scope: 'It is within what was lent',
  sensitive: 'It is sensitive',
  approval: 'An approval covers it',
} as const

const Sides = ({ parties }: { readonly parties: NonNullable<Explained['sides']> }) => (
  <ul class="sides">
    {(Object.keys(sideNames) as (keyof typeof sideNames)[]).map((party) => (
      <li key={party}>
        {sideNames[party]}:{' '}
        <strong>{{ allowed: 'yes', denied: 'no', error: 'not answered' }[parties[party]]}</strong>
      </li>
    ))}
  </ul>
)

const marks = {
  yes: { sign: '✓', word: 'holds' },
  no: { sign: '✕', word: 'does not hold' },
  cycle: { sign: '↻', word: 'goes round in a circle' },
  error: { sign: '!', word: 'could not be evaluated' },
}

/**
 * Why, as nested lists that can be folded, which every keyboard and screen reader knows; the lines between
 * them are drawn. A step that holds and one that does not differ by sign and by word, not by colour alone.
 */
const ReasonTree = ({ reason }: { readonly reason: Reason }) => (
  <ul class="tree" aria-label="Why, step by step">
    <Step reason={reason} />
  </ul>
)

function Step({ reason }: { readonly reason: Reason }) {
  const { holds, because } = reason
  const mark = marks[holds]
  const verdictText = (
    <>
      <span class={`mark-of ${holds}`} aria-hidden="true">
        {mark.sign}
      </span>
      <span>
        <span class="unseen">{mark.word}: </span>
        {wordsOf(reason)}
      </span>
    </>
  )
  if (because.length === 0)
    return (
      <li>
        <div class="step">{verdictText}</div>
      </li>
    )
  return (
    <li>
      <details open>
        <summary class="step">{verdictText}</summary>
        <ul>
          {because.map((inner, index) => (
            // The tree of one answer never changes.
            // biome-ignore lint/suspicious/noArrayIndexKey: steps have no other name
            <Step reason={inner} key={index} />
          ))}
        </ul>
      </details>
    </li>
  )
}

function wordsOf(reason: Reason): ComponentChildren {
  const { kind, tuple, users = [], relation, object } = reason
  if (kind === 'tuple' && tuple !== undefined)
    return (
      <>
        <TupleLine {...tuple} /> <About reason={reason} />
      </>
    )
  if (kind === 'missing' && users.length > 0)
    return (
      <>
        no tuple: <TupleLine user={users.join(' or ')} relation={relation ?? ''} object={object ?? ''} />
      </>
    )
  return saidOf(reason)
}

/** What stands at a step that is no tuple. */
function saidOf({ kind, holds, relation = '', object = '', rule = '', count = 0 }: Reason): string {
  switch (kind) {
    case 'not':
      return holds === 'yes' ? `not excluded by: ${rule}` : `excluded by: ${rule}`
    case 'rule':
      return rule
    case 'self':
      return 'it is the subject itself'
    case 'cycle':
      return `${relation} of ${object}: goes round in a circle`
    case 'depth':
      return `${relation} of ${object}: too deep, not looked at`
    case 'seen':
      return `${relation} of ${object}: as shown elsewhere`
    case 'missing':
      return `${relation} of ${object}: the model knows no way to it`
    case 'cut':
      return `${count} more`
    default:
      return `${relation} of ${object}`
  }
}

/** One tuple on a line. */
const TupleLine = (tuple: { readonly user: string; readonly relation: string; readonly object: string }) => (
  <code class="tuple">
    {tuple.user} <b>{tuple.relation}</b> {tuple.object}
  </code>
)

function About({ reason: { source, written_at: written, condition } }: { readonly reason: Reason }) {
  return (
    <span class="soft">
      {source === 'request'
        ? 'comes with the request'
        : written !== undefined && (
            <>
              written <Time time={written} />
            </>
          )}
      {condition?.until !== undefined && (
        <span class={condition.holds === 'yes' ? undefined : 'bad'}>
          , {condition.holds === 'yes' ? 'until' : 'ended'} <Time time={condition.until} />
        </span>
      )}
      {condition?.error !== undefined && <span class="bad">, {condition.error}</span>}
    </span>
  )
}

/** Nothing where the replica holds what OpenFGA holds. */
export const ReplicaNote = ({ replica: { state, lag_ms: lagMs } }: { readonly replica: Replica }) =>
  state === 'ready' ? null : (
    <p class="warn" role="status">
      {states[state]} Last read {Math.round(lagMs / 100) / 10} s ago.
    </p>
  )
