/**
 * Remit as a retriever and a tool of LangChain.js, for whoever the conversation is with. With the demo
 * running:
 *
 *     TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) \
 *       npm run -s example -- langchain "What did the March recall cost?"
 */
import assert from 'node:assert/strict'
import { BaseRetriever } from '@langchain/core/retrievers'
import { RunnableLambda } from '@langchain/core/runnables'
import { tool } from '@langchain/core/tools'
import { createRemit, langChainDocuments, langChainTool, readDocumentTool, staticToken } from '@remit/client'
import { conversations } from '@remit/client/node'

const {
  PORT = '8787',
  PUBLIC_URL: url = `http://localhost:${PORT}`,
  PERSON = 'anne',
  TOKEN = '',
} = process.env
const question = process.argv[2] ?? 'What did the March recall cost?'
assert(TOKEN, 'TOKEN is missing: TOKEN=$(npm run -s remit -- token --user anne --agent research-bot)')

const remit = createRemit({ url, token: staticToken({ subject: PERSON, token: TOKEN }) })
// Chains are made once, for everybody: each run finds the person that it is for. Outside of one it finds
// nothing.
const { run, current } = conversations()

class RemitRetriever extends BaseRetriever {
  lc_namespace = ['remit']
  override _getRelevantDocuments = langChainDocuments(current, { top_k: 3 })
}

const { func, fields } = langChainTool(readDocumentTool, current)
const readDocument = tool(func, fields)

const chain = new RemitRetriever().pipe(
  RunnableLambda.from(async ([first]: readonly { readonly metadata: Record<string, unknown> }[]) => {
    if (first === undefined) return 'According to nothing that you may read.'
    const { document_id: id } = first.metadata
    const { title } = (await readDocument.invoke({ id })) as { readonly title: string }
    return `According to ${String(id)} (${title}).`
  }),
)

run(remit.for({ subject: PERSON }), () => chain.invoke(question)).then(console.log, (error: unknown) => {
  console.error(String(error))
  process.exitCode = 1
})
