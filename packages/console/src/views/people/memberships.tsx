import type { MembershipPage } from '@remit/contract/explain'
import { Asked } from '../../parts/asked.tsx'
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
  const { of, none, columns } = props
  const answer = useAnswer('memberships', (api, signal) =>
    api.post<MembershipPage>('/memberships', of, signal),
  )
  return (
    <Asked answer={answer} what="the memberships">
      {(first) => (
        <Pages
          first={first}
          path="/memberships"
          asked={of}
          missing="Something may be missing from this list."
        >
          {(pages, hasMore) => {
            const found = pages.flatMap((page) => page.memberships)
            if (found.length === 0)
              return <p role="status">{first.complete ? none : 'Nothing is known yet.'}</p>
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
    </Asked>
  )
}

const tags = {
  allowed: ['tag good', 'yes'],
  denied: ['tag', 'no'],
  error: ['tag warn', 'not answered'],
} as const

function Counts({ counts }: Pick<Membership, 'counts'>) {
  const [style, word] = tags[counts]
  return <span class={style}>{word}</span>
}
