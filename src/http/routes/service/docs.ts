import { readFile } from 'node:fs/promises'
import { errorCodes } from '@remit/contract/errors'
import { html, raw } from 'hono/html'
import { AppError } from '../../../kernel/errors.ts'
import { type App, createRouter } from '../../env.ts'

export interface DocsRouteDeps {
  /** The contract; asked for once every route is mounted. */
  readonly openApi: () => object
  /** Folder with one Markdown page an error code. */
  readonly errorPages: URL
}

const policy =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** `/openapi.json`, `/docs` and a page for each error code; for anyone, and about nobody. */
export function docsRoutes({ openApi, errorPages }: DocsRouteDeps): App {
  const router = createRouter()
  router.get('/openapi.json', (c) => c.json(openApi(), 200))
  // What a start prints first is this address without a path.
  router.get('/', (c) => c.redirect('/docs'))
  router.get('/docs', (c) => {
    c.header('content-security-policy', policy)
    return c.html(renderDocs(openApi() as OpenApi))
  })
  router.get('/docs/errors/:code', async (c) => {
    const code = c.req.param('code')
    if (!Object.hasOwn(errorCodes, code)) throw new AppError('not_found')
    const page = await readFile(new URL(`${code}.md`, errorPages), 'utf8')
    return c.body(page, 200, { 'content-type': 'text/markdown; charset=utf-8' })
  })
  return router
}

interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  /** What members of any name hold; `false`: there are no others. */
  readonly additionalProperties?: Schema | boolean
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly default?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly maxLength?: number
  readonly pattern?: string
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>
  readonly description?: string
}

interface Operation {
  readonly summary?: string
  readonly description?: string
  readonly parameters?: readonly {
    name: string
    in: string
    required?: boolean
    description?: string
    schema?: Schema
  }[]
  readonly requestBody?: Content
  readonly responses?: Readonly<Record<string, Content>>
}

/** The part of an OpenAPI 3.1 document that the page shows. */
interface OpenApi {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> }
}

/** The contract as one page without any script: it can be read under the strictest content policy. */
function renderDocs(document: OpenApi) {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title} API</title>
<style>${raw(style)}</style>
</head>
<body>
<header><h1>${document.info.title} API <small>${document.info.version}</small></h1>
<p>${document.info.description ?? ''}</p>
<p>Machine-readable: <a href="/openapi.json">openapi.json</a></p></header>
<nav aria-label="Routes"><ul>${operations.map(
    ({ path, method, operation }) =>
      html`<li><a href="#${anchor(method, path)}"><b>${method.toUpperCase()}</b> ${path}</a> ${operation.summary ?? ''}</li>`,
  )}</ul></nav>
<main>${operations.map((entry) => renderOperation(entry, document))}</main>
</body>
</html>`
}

function renderOperation(
  { path, method, operation }: { path: string; method: string; operation: Operation },
  document: OpenApi,
) {
  const body = jsonSchema(operation.requestBody)
  return html`<section id="${anchor(method, path)}">
<h2><b>${method.toUpperCase()}</b> ${path}</h2>
<p>${operation.summary ?? ''}</p>
${operation.description === undefined ? '' : html`<p>${operation.description}</p>`}
<details><summary>What is sent and answered</summary>
${
  operation.parameters === undefined
    ? ''
    : html`<h3>Parameters</h3><table>${operation.parameters.map(
        (parameter) =>
          html`<tr><th scope="row"><code>${parameter.name}</code></th><td>${parameter.in}${parameter.required ? ', required' : ''}</td><td>${summarize(parameter.schema ?? {}, document)}${usesOf(parameter)}</td></tr>`,
      )}</table>`
}
${body === undefined ? '' : html`<h3>Body</h3>${renderSchema(body, document, 0)}`}
<h3>Answers</h3>
<dl>${Object.entries(operation.responses ?? {}).map(([status, response]) => {
    const schema = status.startsWith('2') ? jsonSchema(response) : undefined
    return html`<dt><code>${status}</code> ${response.description ?? ''}</dt><dd>${schema === undefined ? '' : renderSchema(schema, document, 0)}</dd>`
  })}</dl>
</details>
</section>`
}

type Html = ReturnType<typeof html>

const depthMax = 6

function renderSchema(reference: Schema, document: OpenApi, depth: number): Html | string {
  const schema = resolve(reference, document)
  const contentSchema = resolve(contentOf(schema) ?? schema, document)
  if (contentSchema.properties === undefined || depth > depthMax)
    return html`<p>${summarize(schema, document)}${usesOf(reference, schema)}</p>`
  const required = new Set(contentSchema.required ?? [])
  return html`<table>${Object.entries(contentSchema.properties).map(([name, member]) => {
    const resolved = resolve(member, document)
    const inner = resolve(contentOf(resolved) ?? resolved, document)
    return html`<tr><th scope="row"><code>${name}</code></th><td>${required.has(name) ? 'required' : ''}</td><td>${summarize(resolved, document)}${usesOf(member, resolved)}${inner.properties === undefined ? '' : renderSchema(resolved, document, depth + 1)}</td></tr>`
  })}</table>`
}

/** What the contract says of it: where it is used, or else where it is defined. */
function usesOf(
  used: { readonly description?: string; readonly schema?: Schema },
  defined?: Schema,
): Html | string {
  const text = used.description ?? used.schema?.description ?? defined?.description
  return text === undefined ? '' : html`<p class="said">${text}</p>`
}

function summarize(reference: Schema, document: OpenApi): string {
  const schema = resolve(reference, document)
  const choices = schema.anyOf ?? schema.oneOf
  if (choices !== undefined)
    return choices.map((choice) => shape(resolve(choice, document), document)).join(' | ')
  if (schema.enum !== undefined)
    return schema.enum.map((value) => JSON.stringify(value)).join(' | ') + defaultOf(schema)
  const type = schema.type === undefined ? 'any' : [schema.type].flat().join(' or ')
  const innerSchema = contentOf(schema)
  const ofFormat =
    innerSchema === undefined
      ? ''
      : `${schema.items ? ' of ' : ', each member: '}${summarize(innerSchema, document)}`
  const bounds = [
    schema.minimum === undefined ? '' : `≥ ${schema.minimum}`,
    schema.maximum === undefined || schema.maximum === Number.MAX_SAFE_INTEGER ? '' : `≤ ${schema.maximum}`,
    schema.maxLength === undefined ? '' : `at most ${schema.maxLength} characters`,
    schema.pattern === undefined ? '' : schema.pattern,
  ].filter((bound) => bound !== '')
  return `${type}${ofFormat}${bounds.length > 0 ? ` (${bounds.join(', ')})` : ''}${defaultOf(schema)}`
}

/** One of several choices: an object by its members, since no table follows. */
const shape = (schema: Schema, document: OpenApi): string =>
  schema.properties === undefined
    ? summarize(schema, document)
    : `{${Object.keys(schema.properties)
        .map((name) => (schema.required?.includes(name) ? name : `${name}?`))
        .join(', ')}}`

/** What a list holds, or an object whose members are named by whoever sends it. */
const contentOf = ({ items, properties, additionalProperties }: Schema): Schema | undefined =>
  items ??
  (properties === undefined && typeof additionalProperties === 'object' ? additionalProperties : undefined)

const defaultOf = (schema: Schema): string =>
  schema.default === undefined ? '' : `, default ${JSON.stringify(schema.default)}`

function resolve(schema: Schema, document: OpenApi): Schema {
  const name = schema.$ref?.split('/').pop()
  return name === undefined ? schema : (document.components?.schemas?.[name] ?? {})
}

function jsonSchema(content: Content | undefined): Schema | undefined {
  const entries = Object.entries(content?.content ?? {})
  return entries.find(([type]) => type.includes('json'))?.[1].schema
}

const anchor = (method: string, path: string): string => `${method}${path.replaceAll(/[^A-Za-z0-9]+/g, '-')}`

const style = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 small { font-weight: 400; opacity: .6; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; font-size: 1.2rem; }
h2 b, nav b { display: inline-block; min-width: 4.5rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
nav ul { list-style: none; padding: 0; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); font-size: .92rem; font-weight: 400; overflow-wrap: anywhere; }
.said { margin: .1rem 0 .3rem; opacity: .8; } dd { margin: 0 0 .5rem 1.5rem; } summary { cursor: pointer; } code { font-family: ui-monospace, monospace; font-size: .92em; }
a { color: LinkText; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; } nav li { padding: .3rem 0; } nav a { overflow-wrap: anywhere; } h2 { overflow-wrap: anywhere; }
  table, tbody, tr, th, td { display: block; } tr { border-bottom: 1px solid var(--line); padding: .4rem 0; } th, td { border: 0; padding: 0; } td:empty { display: none; }
  td table { border-left: 2px solid var(--line); padding-left: .75rem; margin-top: .3rem; } dd { margin-left: .75rem; }
}`
