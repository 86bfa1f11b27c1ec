import { type Generation, readGenerations } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import type { World } from './chunk-index.ts'
import type { OpensearchSubject } from './opensearch-index.ts'

export interface Hit {
  readonly _score: number
  readonly fields: { readonly n: number[]; readonly ordinal: number[] }
}

/** What the engine says to a search. */
export interface Answer {
  readonly [member: string]: unknown
  readonly hits: { readonly hits: readonly Hit[] }
}

/** What stands between the service and the engine, and changes what it says. */
export class Between {
  /** What the engine says to a search in place of the truth. */
  lie: ((answer: Answer) => object) | undefined
  /** Called before each request goes out; a throw there is the network's. */
  onRequest: (path: string) => void | Promise<void> = () => undefined
  /** Answers in place of the engine where it gives an answer. */
  respond: (path: string, method: string) => Response | undefined = () => undefined
  /** What was sent. */
  readonly sent: string[] = []

  readonly fetch: typeof fetch = async (input, init) => {
    const path = new URL(String(input)).pathname
    this.sent.push(`${path} ${String(init?.body ?? '')}`)
    await this.onRequest(path)
    const response = this.respond(path, init?.method ?? 'GET') ?? (await fetch(input, init))
    const { lie } = this
    if (lie === undefined || path !== '/_msearch') return response
    const { responses } = (await response.json()) as { readonly responses: readonly Answer[] }
    return Response.json({ responses: responses.map(lie) })
  }

  reset(): void {
    this.lie = undefined
    this.onRequest = () => undefined
    this.respond = () => undefined
  }
}

/** Makes so many documents and publishes them together; their numbers. */
export async function publishNew(world: World, documents: number, chunksOfEach = 2): Promise<number[]> {
  const docNos: number[] = []
  for (let nth = 0; nth < documents; nth += 1) docNos.push(await world.newDocument())
  const publications = docNos.map((docNo) => world.nextPublication(docNo))
  const chunks = publications.map((publication) => world.chunks(publication, chunksOfEach))
  await world.stageAll(publications, chunks)
  await world.showAll(publications, chunks)
  return docNos
}

/** The number of a document's publication that is in force. */
export async function numberOf({ database }: OpensearchSubject, docNo: number): Promise<number> {
  const [row] = await database.query<{ publication: number }>(
    'select publication from documents where doc_no = $1',
    [docNo],
  )
  return row?.publication ?? 0
}

export async function newestGeneration({ database }: OpensearchSubject): Promise<Generation> {
  const newest = (await readGenerations(database)).at(-1)
  if (newest === undefined) throw new Error('There is no index.')
  return newest
}
