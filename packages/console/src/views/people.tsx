import type { MembershipPage } from '@remit/contract/explain'
import { counted } from '../parts/counted.ts'
import { Field, Form } from '../parts/form.tsx'
import { Heading } from '../parts/heading.tsx'
import { Id } from '../parts/id.tsx'
import { Onwards, Part } from '../parts/part.tsx'
import { type Column, Table } from '../parts/table.tsx'
import { Time } from '../parts/time.tsx'
import { personPath, readsPath, recordPath, viewAsPath, whoCanPath } from '../paths.ts'
import { go } from '../router.tsx'
import { DelegationTable } from './delegations/delegations.tsx'
import { PagedAnswer } from './why/lists.tsx'

/** Whom to look for. */
export const People = () => (
  <>
    <Heading title="People and groups" />
    <p class="soft">
      In which groups a person is, and through which; whom a group holds; what somebody lent to agents. That
      you looked is on record.
    </p>
    <Form class="line" onSubmit={({ who = '' }) => go(personPath(who.includes(':') ? who : `user:${who}`))}>
      <Field name="who" title="Person or group" example="user:anne, group:eng" isNeeded />
      <button type="submit" class="main">
        Show
      </button>
    </Form>
  </>
)

/** One person: in which groups, and through which; what they lent; and where to go on. */
export const Person = ({ user }: { readonly user: string }) => (
  <>
    <Heading title={user}>
      <code>{user}</code>
    </Heading>
    <Onwards
      links={{
        'What they were given themselves': readsPath({ subject: user, today: 'true' }),
        'What they would be given now': viewAsPath({ user }),
        'All that is on record of them': recordPath({ subject: user }),
      }}
    />
    <Part id="groups" title="Groups">
      <Memberships
        of={{ user }}
        none="They are in no group."
        columns={[
          { title: 'Group', cell: ({ group }) => <Id id={group} /> },
          { title: 'Through', cell: ({ via }) => via ?? <span class="soft">–</span> },
        ]}
      />
    </Part>
    <Part id="lent" title="What they lent to agents">
      <DelegationTable
        filter={{ subject: user, limit: '20' }}
        none="They have lent nothing."
        without="Whose"
      />
    </Part>
  </>
)

/** One group: whom it was told to hold, people and groups within it. */
export const Group = ({ group }: { readonly group: string }) => (
  <>
    <Heading title={group}>
      <code>{group}</code>
    </Heading>
    <Onwards
      links={{
        'Everybody in it, through groups too': whoCanPath(group, 'member'),
        'How it was changed': recordPath({ object: group, event: 'access_changed' }),
      }}
    />
    <Part id="members" title="Whom it holds">
      <Memberships
        of={{ group }}
        none="It holds nobody."
        columns={[
          { title: 'Member', cell: ({ member }) => <Id id={member} /> },
          { title: 'As', cell: ({ relation }) => relation },
        ]}
      />
    </Part>
  </>
)

/** That somebody is in a group, directly or through another. */
type Membership = MembershipPage['memberships'][number]

/** What the replica nominates, each with OpenFGA's word; and what may be missing. */
const Memberships = (props: {
  readonly of: { readonly user: string } | { readonly group: string }
  readonly none: string
  readonly columns: readonly Column<Membership>[]
}) => (
  <PagedAnswer<MembershipPage>
    path="/memberships"
    inputs={props.of}
    subject="the memberships"
    missing="Something may be missing from this list."
  >
    {(pages, hasMore) => {
      const found = pages.flatMap((page) => page.memberships)
      if (found.length === 0)
        return <p role="status">{pages[0]?.complete ? props.none : 'Nothing is known yet.'}</p>
      return (
        <Table
          caption={`${counted(found.length, 'membership')}${hasMore ? ' so far' : ''}, each checked with OpenFGA just now`}
          rows={found}
          keyOf={({ member, relation, group }) => `${group} ${relation} ${member}`}
          columns={[
            ...props.columns,
            {
              title: 'Until',
              cell: ({ until: endTime }) =>
                endTime === null ? <span class="soft">–</span> : <Time time={endTime} />,
            },
            { title: 'Counts now', cell: ({ counts }) => <Counts counts={counts} /> },
          ]}
        />
      )
    }}
  </PagedAnswer>
)

const tagStyles = {
  allowed: ['tag good', 'yes'],
  denied: ['tag', 'no'],
  error: ['tag warn', 'not answered'],
} as const

function Counts({ counts }: Pick<Membership, 'counts'>) {
  const [style, label] = tagStyles[counts]
  return <span class={style}>{label}</span>
}
