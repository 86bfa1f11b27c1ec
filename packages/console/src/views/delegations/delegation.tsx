import type { AuditDelegation, AuditDelegationPage, RecordPage } from '@remit/contract/audit'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Time } from '../../parts/time.tsx'
import { readsPath, recordPath, viewAsPath, whatIfPath } from '../../paths.ts'
import { Link, withQuery } from '../../router.tsx'
import { useAnswer } from '../../use-answer.ts'
import { Entries } from '../record/entries.tsx'
import { fetchDelegations } from './audit-delegations.ts'
import { State } from './list.tsx'

/** Who lent what to whom, when, until when, what became of it, and what was done with it. */
export function Delegation({ id }: { readonly id: string }) {
  const answer = useAnswer(`delegation ${id}`, (api, signal) =>
    fetchDelegations(api, { delegation: id }, signal),
  )
  return (
    <>
      <Heading title={`Delegation ${id}`}>
        Delegation <code>{id}</code>
      </Heading>
      <AsyncAnswer answer={answer} subject="the delegation">
        {({ delegations: [delegation], names }) =>
          delegation === undefined ? (
            <p role="status">There is none of this id.</p>
          ) : (
            <Facts entry={delegation} names={names} />
          )
        }
      </AsyncAnswer>
      <Uses id={id} />
    </>
  )
}

function Facts({
  entry,
  names,
}: {
  readonly entry: AuditDelegation
  readonly names: AuditDelegationPage['names']
}) {
  const {
    delegation,
    subject,
    agent,
    sub_agents: subAgents,
    scope,
    resource,
    purpose,
    standing: isStanding,
    state,
  } = entry
  const agentKey = agent.replace(/^agent:/, '')
  return (
    <>
      <dl class="facts">
        <dt>State</dt>
        <dd>
          <State delegation={entry} />
          {entry.revoked_at !== undefined && (
            <>
              {' '}
              since <Time time={entry.revoked_at} />
            </>
          )}
        </dd>
        <dt>Who lent</dt>
        <dd>
          <Id id={subject} name={names[subject]} />
        </dd>
        <dt>To</dt>
        <dd>
          <Id id={agent} name={names[agent]} />
        </dd>
        <dt>May be passed on to</dt>
        <dd>
          {subAgents.length === 0
            ? 'no other agent'
            : subAgents.map((inner, index) => (
                <span key={inner}>
                  {index > 0 && ', '}
                  <Id id={inner} name={names[inner]} />
                </span>
              ))}
        </dd>
        <dt>What</dt>
        <dd>
          {resource === undefined ? (
            <ul class="plain">
              {scope.map((object) => (
                <li key={object}>
                  <Id id={object} />
                </li>
              ))}
            </ul>
          ) : (
            <>
              at the API <code>{resource}</code>; it opens nothing here
            </>
          )}
        </dd>
        <dt>What for</dt>
        <dd>{purpose}</dd>
        <dt>Since</dt>
        <dd>
          <Time time={entry.created_at} /> UTC
        </dd>
        <dt>Until</dt>
        <dd>
          <Time time={entry.expires_at} /> UTC{isStanding && ', standing'}
        </dd>
      </dl>
      <ul class="onwards" aria-label="On from here">
        <li>
          <Link to={readsPath({ subject, agent, since: entry.created_at, today: 'true' })}>
            What it read for them since, and what would be refused today
          </Link>
        </li>
        {resource === undefined && state === 'live' && (
          <>
            <li>
              <Link to={viewAsPath({ user: subject, agent: agentKey, delegation })}>
                What it would be given now
              </Link>
            </li>
            <li>
              <Link to={whatIfPath({ deletes: `${subject} delegator delegation:${delegation}` })}>
                What would be lost if it were taken back
              </Link>
            </li>
          </>
        )}
      </ul>
    </>
  )
}

const usesMax = '20'

/** Everything on record that names it: how it came about, each use, how it ended. */
function Uses({ id }: { readonly id: string }) {
  const object = `delegation:${id}`
  const answer = useAnswer(`uses ${id}`, (api, signal) =>
    api.get<RecordPage>(withQuery('/audit', { object, limit: usesMax }), signal),
  )
  return (
    <section aria-labelledby="uses">
      <h2 id="uses">What is on record of it</h2>
      <AsyncAnswer answer={answer} subject="its uses">
        {({ records, next_cursor: next }) =>
          records.length === 0 ? (
            <p>Nothing.</p>
          ) : (
            <>
              <Entries entries={records} />
              {next !== undefined && (
                <p>
                  <Link to={recordPath({ object })}>All that is on record of it</Link>
                </p>
              )}
            </>
          )
        }
      </AsyncAnswer>
    </section>
  )
}
