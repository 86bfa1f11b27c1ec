import type { AuditDelegation, AuditDelegationPage } from '@remit/contract/audit'
import { Asked } from '../../parts/async-answer.tsx'
import { agentId } from '../../parts/form.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id, Ids } from '../../parts/id.tsx'
import { Fact, Onwards, Part } from '../../parts/part.tsx'
import { Time } from '../../parts/time.tsx'
import { readsPath, viewAsPath, whatIfPath } from '../../paths.ts'
import { LatestEntries } from '../record/entries.tsx'
import { State, withFilter } from './list.tsx'

/** Who lent what to whom, when, until when, what became of it, and what was done with it. */
export const Delegation = ({ id }: { readonly id: string }) => (
  <>
    <Heading title={`Delegation ${id}`}>
      Delegation <code>{id}</code>
    </Heading>
    <Asked<AuditDelegationPage> path={withFilter({ delegation: id })} subject="the delegation">
      {({ delegations: [delegation], names }) =>
        delegation === undefined ? (
          <p role="status">There is none of this id.</p>
        ) : (
          <>
            <Facts entry={delegation} names={names} />
            <Onwards links={onwardsFrom(delegation)} />
          </>
        )
      }
    </Asked>
    <Part id="uses" title="What is on record of it">
      <LatestEntries of={{ object: `delegation:${id}` }} limit={20} subject="its uses" none="Nothing." />
    </Part>
  </>
)

function Facts(props: { readonly entry: AuditDelegation; readonly names: AuditDelegationPage['names'] }) {
  const { entry, names } = props
  const { subject, agent, sub_agents: subAgents, scope, resource, purpose } = entry
  return (
    <dl class="facts">
      <Fact title="State">
        <State delegation={entry} />
        {entry.revoked_at !== undefined && (
          <>
            {' '}
            since <Time time={entry.revoked_at} />
          </>
        )}
      </Fact>
      <Fact title="Who lent">
        <Id id={subject} name={names[subject]} />
      </Fact>
      <Fact title="To">
        <Id id={agent} name={names[agent]} />
      </Fact>
      <Fact title="May be passed on to">
        {subAgents.length === 0
          ? 'no other agent'
          : subAgents.map((inner, index) => (
              <span key={inner}>
                {index > 0 && ', '}
                <Id id={inner} name={names[inner]} />
              </span>
            ))}
      </Fact>
      <Fact title="What">
        {resource === undefined ? (
          <Ids ids={scope} />
        ) : (
          <>
            at the API <code>{resource}</code>; it opens nothing here
          </>
        )}
      </Fact>
      <Fact title="What for">{purpose}</Fact>
      <Fact title="Since">
        <Time time={entry.created_at} /> UTC
      </Fact>
      <Fact title="Until">
        <Time time={entry.expires_at} /> UTC{entry.standing && ', standing'}
      </Fact>
    </dl>
  )
}

const onwardsFrom = ({ delegation, subject, agent, created_at, resource, state }: AuditDelegation) => ({
  'What it read for them since, and what would be refused today': readsPath({
    subject,
    agent,
    since: created_at,
    today: 'true',
  }),
  ...(resource === undefined &&
    state === 'live' && {
      'What it would be given now': viewAsPath({ user: subject, agent: agentId(agent), delegation }),
      'What would be lost if it were taken back': whatIfPath({
        deletes: `${subject} delegator delegation:${delegation}`,
      }),
    }),
})
