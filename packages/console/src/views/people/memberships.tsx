import type { MembershipPage } from '@remit/contract/explain'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { type Column, Table } from '../../parts/table.tsx'
import { useAnswer } from '../../use-answer.ts'
import { Pages } from '../why/pages.tsx'

/** That somebody is in a group, directly or through another. */
export type Membership = MembershipPage['memberships'][number]

/** What the replica nominates, each with OpenFGA's word; and what may be missing. */
export function Memberships(props: {
  readonly of: Readonly<Record<'user', string>> | Readonly<Record<'group', string>>
  readonly none: string
  readonly columns: readonly Column<Membership>[]
}) {
  const { of: principal, none: emptyText, columns } = props
  const answer = useAnswer('memberships', (api, signal) =>
    api.post<MembershipPage>('/memberships', principal, signal),
  )
  return (
    <AsyncAnswer answer={answer} subject="the memberships">
      {(firstPage) => (
        <Pages
          first={firstPage}
          path="/memberships"
          asked={principal}
          missing="Something may be missing from this list."
        >
          {(pages, hasMore) => {
            const found = pages.flatMap((page) => page.memberships)
            if (found.length === 0)
              return <p role="status">{firstPage.complete ? emptyText : 'Nothing is known yet.'}</p>
            return (
              <Table
                caption={`${counted(found.length, 'membership')}${hasMore ? ' so far' : ''}, each checked with OpenFGA just now`}
                rows={found}
                keyOf={({ member, relation, group }) => `${group} ${relation} ${member}`}
                columns={[
                  ...columns,
                  { title: 'Counts now', cell: ({ counts }) => <Counts counts={counts} /> },
                ]}
              />
            )
          }}
        </Pages>
      )}
    </AsyncAnswer>
  )
}

const tagStyles = {
  allowed: ['tag good', 'yes'],
  denied: ['tag', 'no'],
  error: ['tag warn', 'not answered'],
} as const

function Counts({ counts }: Pick<Membership, 'counts'>) {
  const [style, label] = tagStyles[counts]
  return <span class={style}>{label}</span>
}
