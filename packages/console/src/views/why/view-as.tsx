import type { ViewAsPage } from '@remit/contract/explain'
import { AsyncAnswer as AskedFor } from '../../parts/async-answer.tsx'
import { Heading } from '../../parts/heading.tsx'
import { Id } from '../../parts/id.tsx'
import { Table } from '../../parts/table.tsx'
import { Link } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { useAnswer } from '../../use-answer.ts'
import { DelegationField } from '../delegations/field.tsx'
import { AskForm, addressWith, Field, type Inputs, inputsOf } from './ask-form.tsx'
import { Pages } from './pages.tsx'
import './why.css'

/** `/view-as?user=…`, with `agent` and `delegation` for an agent. */
export const viewAsViews: Section = {
  path: '/view-as',
  title: 'View as',
  roles: ['security.read'],
  show: ({ query }) => {
    const inputs = inputsOf(query, ['user', 'agent', 'delegation', 'collection'])
    return <ViewAs inputs={inputs} key={JSON.stringify(inputs)} />
  },
}

function ViewAs({ inputs }: { readonly inputs: Inputs }) {
  return (
    <>
      <Heading title="What would they be given?" />
      <p class="soft">
        Ids of documents, by what is in force now. It opens none of them to you, and that you looked is on
        record.
      </p>
      <AskForm path="/view-as" button="View as">
        <Field name="user" title="Who" inputs={inputs} example="user:anne" isNeeded />
        <Field name="agent" title="Through agent" inputs={inputs} example="themselves" />
        <DelegationField chosen={inputs['delegation']} hint="that was lent" />
        <Field name="collection" title="Only in" inputs={inputs} example="any collection" />
      </AskForm>
      {inputs['user'] !== undefined && <FirstPage inputs={inputs} />}
    </>
  )
}

function FirstPage({ inputs }: { readonly inputs: Inputs }) {
  const answer = useAnswer('viewed', (api, signal) => api.post<ViewAsPage>('/view-as', inputs, signal))
  return (
    <AskedFor answer={answer} subject="their documents">
      {(firstPage) => (
        <>
          {firstPage.limited_by !== null && <p class="warn">{firstPage.limited_by}</p>}
          <Pages
            first={firstPage}
            path="/view-as"
            asked={inputs}
            missing="Something may be missing from this list."
          >
            {(pages, hasMore) => <Viewed pages={pages} hasMore={hasMore} asked={inputs} />}
          </Pages>
        </>
      )}
    </AskedFor>
  )
}

function Viewed(props: {
  readonly pages: readonly ViewAsPage[]
  readonly hasMore: boolean
  readonly asked: Inputs
}) {
  const { pages, hasMore, asked: inputs } = props
  const documents = pages.flatMap((page) => page.documents)
  const { collection: _, ...viewer } = inputs
  const relation = viewer['agent'] === undefined ? 'can_read' : 'can_read_delegated'
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
            <Link to={addressWith('/explain', { ...viewer, relation, object: `document:${id}` })}>
              Explain<span class="unseen"> {id}</span>
            </Link>
          ),
        },
      ]}
    />
  )
}
