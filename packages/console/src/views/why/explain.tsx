import type { Explained } from '@remit/contract/explain'
import { Asked } from '../../parts/async-answer.tsx'
import { AskForm, Field, type Inputs } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import { DelegationField } from '../delegations/field.tsx'
import { ReplicaNote } from './replica.tsx'
import { ReasonTree } from './tree.tsx'
import './why.css'

const relations = ['can_read', 'can_read_delegated', 'can_be_told', 'viewer', 'owner', 'blocked', 'member']

/** `/explain?user=…&relation=…&object=…`, with `agent` and `delegation` for an agent; asked as soon as it is opened. */
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
  const { decision, in_words, registry, error, reason, cut, sides: parties, replica, at: time } = explained
  // Whatever OpenFGA says, nothing is given then: its yes in the place of the answer was taken for one.
  const isKept = registry?.allows === false
  return (
    <>
      <NeverHere of={explained} />
      <section class={`answer ${isKept ? 'denied' : decision}`} aria-live="polite">
        <p class="said">
          <Word verdict={isKept ? 'denied' : decision} /> {isKept ? registry.in_words : in_words}
        </p>
        {isKept && (
          <p>
            OpenFGA, by tuples alone: <Word verdict={decision} /> {in_words}
          </p>
        )}
        {registry?.allows === true && <p>{registry.in_words}</p>}
        {isByClock && <p class="warn">By the clock of {time}, on today’s tuples: this is no history.</p>}
        {error !== undefined && <p class="bad">{error}</p>}
        {parties !== undefined && <Sides parties={parties} />}
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
