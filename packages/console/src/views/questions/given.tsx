import type { Readers } from '@remit/contract/record-questions'
import type { Column } from '../../parts/table.tsx'
import { Time } from '../../parts/time.tsx'
import { actionPath } from '../../paths.ts'
import { Link } from '../../router.tsx'

/** What the record sums up of answers that were given. */
type Given = Pick<Readers['readers'][number], 'answers' | 'first_at' | 'last_at' | 'last_txn'>

/** How often, and when: the last one leads to its action. */
export const givenColumns: readonly Column<Given>[] = [
  { title: 'Answers', cell: ({ answers }) => answers, isNumber: true },
  { title: 'First', cell: ({ first_at }) => <Time time={first_at} /> },
  {
    title: 'Last',
    cell: ({ last_at, last_txn }) => (
      <Link to={actionPath(last_txn)}>
        <Time time={last_at} />
      </Link>
    ),
  },
]
