import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { recordPath, whoCanPath } from '../../paths.ts'
import { Link } from '../../router.tsx'
import { Memberships } from './memberships.tsx'
import { EndTime } from './person.tsx'

/** One group: whom it was told to hold, people and groups within it. */
export const Group = ({ group }: { readonly group: string }) => (
  <>
    <Heading title={group}>
      <code>{group}</code>
    </Heading>
    <ul class="onwards" aria-label="On from here">
      <li>
        <Link to={whoCanPath(group, 'member')}>Everybody in it, through groups too</Link>
      </li>
      <li>
        <Link to={recordPath({ object: group, event: 'access_changed' })}>How it was changed</Link>
      </li>
    </ul>
    <section aria-labelledby="members">
      <h2 id="members">Whom it holds</h2>
      <Memberships
        of={{ group }}
        none="It holds nobody."
        columns={[
          { title: 'Member', cell: ({ member }) => <Id id={member} /> },
          { title: 'As', cell: ({ relation }) => relation },
          { title: 'Until', cell: ({ until: endTime }) => <EndTime endTime={endTime} /> },
        ]}
      />
    </section>
  </>
)
