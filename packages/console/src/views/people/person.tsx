import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Time } from '../../parts/time.tsx'
import { readsPath, recordPath, viewAsPath } from '../../paths.ts'
import { Link } from '../../router.tsx'
import { DelegationTable } from '../delegations/list.tsx'
import { Memberships } from './memberships.tsx'

/** One person: in which groups, and through which; what they lent; and where to go on. */
export const Person = ({ user }: { readonly user: string }) => (
  <>
    <Heading title={user}>
      <code>{user}</code>
    </Heading>
    <ul class="onwards" aria-label="On from here">
      <li>
        <Link to={readsPath({ subject: user, today: 'true' })}>What they were given themselves</Link>
      </li>
      <li>
        <Link to={viewAsPath({ user })}>What they would be given now</Link>
      </li>
      <li>
        <Link to={recordPath({ subject: user })}>All that is on record of them</Link>
      </li>
    </ul>
    <section aria-labelledby="groups">
      <h2 id="groups">Groups</h2>
      <Memberships
        of={{ user }}
        none="They are in no group."
        columns={[
          { title: 'Group', cell: ({ group }) => <Id id={group} /> },
          { title: 'Through', cell: ({ via }) => via ?? <span class="soft">–</span> },
          { title: 'Until', cell: ({ until: endTime }) => <EndTime endTime={endTime} /> },
        ]}
      />
    </section>
    <section aria-labelledby="lent">
      <h2 id="lent">What they lent to agents</h2>
      <DelegationTable
        filter={{ subject: user, limit: '20' }}
        none="They have lent nothing."
        without="Whose"
      />
    </section>
  </>
)

/** When a membership ends; a dash where it does not. */
export const EndTime = ({ endTime }: { readonly endTime: string | null }) =>
  endTime === null ? <span class="soft">–</span> : <Time time={endTime} />
