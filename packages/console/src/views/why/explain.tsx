import { Asked as AskedFor } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { NeverHere } from '../../parts/never-here.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { DelegationField } from '../delegations/field.tsx'
import { type Asked, AskForm, askedOf, Field } from './ask-form.tsx'
import type { Explained, Verdict } from './reason.ts'
import { ReplicaNote } from './replica.tsx'
import { ReasonTree } from './tree.tsx'
import './why.css'

/** `/explain?user=…&relation=…&object=…`, with `agent` and `delegation` for an agent; asked as soon as it is opened. */
export const explainViews: Section = {
  path: '/explain',
  title: 'Why',
  roles: ['security.read'],
  show: ({ query }) => {
    const asked = askedOf(query, ['user', 'agent', 'delegation', 'grants', 'relation', 'object', 'at'])
    return <Explain asked={asked} key={JSON.stringify(asked)} />
  },
}

const relations = ['can_read', 'can_read_delegated', 'can_be_told', 'viewer', 'owner', 'blocked', 'member']

function Explain({ asked }: { readonly asked: Asked }) {
  const isAsked = ['user', 'relation', 'object'].every((name) => asked[name] !== undefined)
  return (
    <>
      <Heading title="Why may they, or why not?" />
      <AskForm path="/explain" button="Ask why">
        <Field name="user" title="Who" asked={asked} example="user:anne" isNeeded />
        <Field name="relation" title="Has" asked={asked} example="can_read" isNeeded choices={relations} />
        <Field name="object" title="Of" asked={asked} example="document:handbook/welcome.md" isNeeded />
        <details class="more" open={['agent', 'grants', 'at'].some((name) => asked[name] !== undefined)}>
          <summary>Through an agent, or by another clock</summary>
          <div class="line">
            <Field name="agent" title="Agent" asked={asked} example="research-bot" />
            <DelegationField chosen={asked['delegation']} hint="that was lent" />
            <Field name="grants" title="Approvals" hint="by commas" asked={asked} example="g_…" />
            <Field
              name="at"
              title="Clock"
              hint="for what ends"
              asked={asked}
              example="2027-01-01T00:00:00Z"
            />
          </div>
        </details>
      </AskForm>
      {isAsked && <Answer asked={asked} />}
    </>
  )
}

function Answer({ asked }: { readonly asked: Asked }) {
  const { grants, ...rest } = asked
  const body = { ...rest, ...(grants !== undefined && { grants: grants.split(/[\s,]+/) }) }
  const answer = useAnswer('explained', (api, signal) => api.post<Explained>('/explain', body, signal))
  return (
    <AskedFor answer={answer} what="the reason">
      {(explained) => <Why explained={explained} isByClock={asked['at'] !== undefined} />}
    </AskedFor>
  )
}

function Why({ explained, isByClock }: { readonly explained: Explained; readonly isByClock: boolean }) {
  const { decision, in_words, registry, error, reason, cut, sides, replica, at } = explained
  // Whatever OpenFGA says, nothing is given then: its yes in the place of the answer was taken for one.
  const isKept = registry?.allows === false
  return (
    <>
      <NeverHere of={{ never_here: [], ...explained }} />
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
        {isByClock && <p class="warn">By the clock of {at}, on today’s tuples: this is no history.</p>}
        {error !== undefined && <p class="bad">{error}</p>}
        {sides !== undefined && <Sides sides={sides} />}
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

const words: Readonly<Record<Verdict, string>> = { allowed: 'Yes.', denied: 'No.', error: 'Undecided.' }

const Word = ({ verdict }: { readonly verdict: Verdict }) => <strong>{words[verdict]}</strong>

/** OpenFGA's word beside that of the index, from which the tree comes. */
function Agreement({
  explained: { decision, explained, agrees, registry },
}: {
  readonly explained: Explained
}) {
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

const Sides = ({ sides }: { readonly sides: NonNullable<Explained['sides']> }) => (
  <ul class="sides">
    {(Object.keys(sideNames) as (keyof typeof sideNames)[]).map((side) => (
      <li key={side}>
        {sideNames[side]}:{' '}
        <strong>{{ allowed: 'yes', denied: 'no', error: 'not answered' }[sides[side]]}</strong>
      </li>
    ))}
  </ul>
)
