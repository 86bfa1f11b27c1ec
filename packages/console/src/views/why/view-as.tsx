import type { ViewAsPage } from '@remit/contract/explain'
import { Asked as AskedFor } from '../../parts/asked.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Link } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { DelegationField } from '../delegations/field.tsx'
import { type Asked, AskForm, addressWith, askedOf, Field } from './ask-form.tsx'
import { Pages } from './pages.tsx'
import './why.css'

/** `/view-as?user=…`, with `agent` and `delegation` for an agent. */
export const viewAsViews: Section = {
  path: '/view-as',
  title: 'View as',
  roles: ['security.read'],
  show: ({ query }) => {
    const asked = askedOf(query, ['user', 'agent', 'delegation', 'collection'])
    return <ViewAs asked={asked} key={JSON.stringify(asked)} />
  },
}

function ViewAs({ asked }: { readonly asked: Asked }) {
  return (
    <>
      <Heading title="What would they be given?" />
      <p class="soft">
        Ids of documents, by what is in force now. It opens none of them to you, and that you looked is on
        record.
      </p>
      <AskForm path="/view-as" button="View as">
        <Field name="user" title="Who" asked={asked} example="user:anne" isNeeded />
        <Field name="agent" title="Through agent" asked={asked} example="themselves" />
        <DelegationField chosen={asked['delegation']} hint="that was lent" />
        <Field name="collection" title="Only in" asked={asked} example="any collection" />
      </AskForm>
      {asked['user'] !== undefined && <FirstPage asked={asked} />}
    </>
  )
}

function FirstPage({ asked }: { readonly asked: Asked }) {
  const answer = useAnswer('viewed', (api, signal) => api.post<ViewAsPage>('/view-as', asked, signal))
  return (
    <AskedFor answer={answer} what="their documents">
      {(first) => (
        <>
          {first.limited_by !== null && <p class="warn">{first.limited_by}</p>}
          <Pages
            first={first}
            path="/view-as"
            asked={asked}
            missing="Something may be missing from this list."
          >
            {(pages, hasMore) => <Viewed pages={pages} hasMore={hasMore} asked={asked} />}
          </Pages>
        </>
      )}
    </AskedFor>
  )
}

function Viewed(props: {
  readonly pages: readonly ViewAsPage[]
  readonly hasMore: boolean
  readonly asked: Asked
}) {
  const { pages, hasMore, asked } = props
  const documents = pages.flatMap((page) => page.documents)
  const { collection: _, ...who } = asked
  const relation = who['agent'] === undefined ? 'can_read' : 'can_read_delegated'
  if (documents.length === 0)
    return <p>{hasMore ? 'Nothing so far that OpenFGA confirms.' : 'Nothing that OpenFGA confirms.'}</p>
  return (
    <Table
      caption={`${documents.length}${hasMore ? ' so far' : ''}, each confirmed by OpenFGA`}
      rows={documents}
      keyOf={(document) => document.document_id}
      columns={[
        { title: 'Document', cell: ({ document_id: id }) => <Id id={`document:${id}`} isShort /> },
        { title: 'Filed in', cell: ({ collection }) => collection },
        { title: 'How', cell: ({ via }) => via ?? '' },
        {
          title: 'Why',
          cell: ({ document_id: id }) => (
            <Link to={addressWith('/explain', { ...who, relation, object: `document:${id}` })}>
              Explain<span class="unseen"> {id}</span>
            </Link>
          ),
        },
      ]}
    />
  )
}
