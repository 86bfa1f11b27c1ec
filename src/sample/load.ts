import { readdir, readFile } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { parse } from 'yaml'
import type { z } from 'zod'
import type { Tuple } from '../authz/fga.ts'
import type { Role } from '../delegation/administration/administrators.ts'
import type { Lending } from '../delegation/lending/delegation.ts'
import type { Service } from '../delegation/registry/services.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import { dateAfter, timestamp } from './dates.ts'
import { brokenReferences, collectionOf } from './references.ts'
import { type Company, companySchema, headSchema, type RawDocument, type Viewer } from './schema.ts'

/** The demo company, ready to be seeded. Periods have become moments. */
export interface Sample {
  readonly organization: { readonly id: string; readonly title: string }
  readonly question: string
  readonly fields: Company['fields']
  readonly people: readonly SamplePerson[]
  readonly collections: readonly SampleCollection[]
  readonly agents: readonly SampleAgent[]
  readonly delegations: readonly SampleLending[]
  readonly administrators: readonly { readonly subject: FgaObject; readonly roles: readonly Role[] }[]
  readonly services: readonly SampleService[]
  /** Everything but documents and delegations, whose tuples ingestion and lending write themselves. */
  readonly tuples: {
    /** `group#member`, `organization#member`, `organization#admin`. */
    readonly directory: readonly Tuple[]
    /** `organization viewer sensitive`; `writer` and `tagger` come from registering the services. */
    readonly collections: readonly Tuple[]
    /** `filed_in parent viewer sensitive`. */
    readonly folders: readonly Tuple[]
  }
  /** In the order of their ids. */
  readonly documents: readonly WireDocument[]
}

export interface SamplePerson {
  /** `anne`; her OpenFGA user is `user:anne`. */
  readonly key: string
  readonly name: string
  readonly role: string
}

export interface SampleCollection {
  readonly id: string
  readonly title: string
  readonly publicAllowed: boolean
}

export interface SampleAgent {
  readonly id: string
  readonly owner: FgaObject
  readonly purpose: string
}

/** What the delegation feature takes, with an id so that seeding twice lends once. */
export type SampleLending = Lending & { readonly id: string }

export interface SampleService extends Service {
  readonly scopes: readonly ('docs.write' | 'directory.write')[]
}

/** A document as `PUT /documents/{id}` and `POST /imports` take it. */
export interface WireDocument {
  readonly id: string
  readonly collection: string
  readonly title: string
  readonly text: string
  readonly mime_type: 'text/markdown'
  readonly metadata: Readonly<Record<string, string | number | boolean>>
  readonly updated_at: string
  readonly access: WireAccess
}

export interface WireAccess {
  readonly owner: FgaObject
  readonly viewers: readonly (string | { readonly user: string; readonly expires_at: string })[]
  readonly parents: readonly FgaObject[]
  readonly blocked: readonly string[]
  readonly sensitive: boolean
}

/**
 * Reads `company.yaml` and every `.md` file under `documents/` of `dir`. Periods count from `now`.
 * Throws one error that lists every unknown key, wrong value and dangling reference with its place.
 * Not checked: whether links in the text lead anywhere.
 */
export async function loadSample(dir: string, now: Date): Promise<Sample> {
  const company = checked(
    companySchema,
    'company.yaml',
    parse(await readFile(join(dir, 'company.yaml'), 'utf8')),
  )
  const documents = await readDocuments(join(dir, 'documents'))
  const problems = brokenReferences(company, documents)
  if (problems.length > 0) throw new Error(`The sample is broken:\n${problems.join('\n')}`)
  return toSample(company, documents, now)
}

async function readDocuments(root: string): Promise<RawDocument[]> {
  const paths = (await readdir(root, { recursive: true })).filter((path) => path.endsWith('.md')).sort()
  return Promise.all(
    paths.map(async (path) =>
      parseDocument(path.split(sep).join('/'), await readFile(join(root, path), 'utf8')),
    ),
  )
}

function parseDocument(path: string, source: string): RawDocument {
  const [, head, text] = /^---\n(.*?)\n---\n\n?(.*)$/s.exec(source) ?? []
  if (head === undefined || text === undefined) throw new Error(`${path}: no front matter between --- lines`)
  return { path, head: checked(headSchema, path, parse(head)), text }
}

function checked<Schema extends z.ZodType>(
  schema: Schema,
  location: string,
  value: unknown,
): z.infer<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const lines = result.error.issues.map(({ path, message }) => `${location}: ${path.join('.')}: ${message}`)
  throw new Error(`The sample is broken:\n${lines.join('\n')}`)
}

function toSample(company: Company, documents: readonly RawDocument[], now: Date): Sample {
  const { organization, question, fields, people, collections, agents, administrators } = company
  return {
    organization: { id: organization.id, title: organization.title },
    question,
    fields,
    people: people.map(({ id, name, role }) => ({ key: id, name, role })),
    collections: collections.map(({ id, title, public_allowed }) => ({
      id,
      title,
      publicAllowed: public_allowed,
    })),
    agents,
    administrators,
    delegations: company.delegations.map((delegation) => ({
      id: delegation.id,
      subject: delegation.subject,
      agent: splitObject(delegation.agent).id,
      subAgents: delegation.sub_agents.map((agent) => splitObject(agent).id),
      scope: delegation.scope,
      purpose: delegation.purpose,
      expiresAt: dateAfter(now, delegation.expires_in),
    })),
    services: company.services.map((service) => ({
      name: splitObject(service.id).id,
      scopes: service.scopes,
      collections: service.collections,
      prefixes: service.directory_prefixes,
    })),
    tuples: {
      directory: directoryTuples(company),
      collections: collectionTuples(company, now),
      folders: folderTuples(company, now),
    },
    documents: documents.map((document) => toWire(document, now)),
  }
}

function toWire(
  { path, head: { id, title, updated_at, access, metadata }, text }: RawDocument,
  now: Date,
): WireDocument {
  const viewers = access.viewers.map((viewer) => toWireViewer(viewer, now))
  return {
    id,
    collection: collectionOf(path),
    title,
    text,
    mime_type: 'text/markdown',
    metadata,
    updated_at,
    access: { ...access, viewers },
  }
}

function toWireViewer(viewer: Viewer, now: Date): WireAccess['viewers'][number] {
  return typeof viewer === 'string'
    ? viewer
    : { user: viewer.user, expires_at: timestamp(dateAfter(now, viewer.expires_in)) }
}

/** Who belongs where. */
function directoryTuples({ organization, groups }: Company): Tuple[] {
  const home: FgaObject = `organization:${organization.id}`
  return [
    ...groups.flatMap(({ id, members }) =>
      members.map((user): Tuple => ({ user, relation: 'member', object: `group:${id}` })),
    ),
    ...organization.admins.map((user): Tuple => ({ user, relation: 'admin', object: home })),
    ...organization.members.map((user): Tuple => ({ user, relation: 'member', object: home })),
  ]
}

/** The tuples of the sample's collections. */
function collectionTuples({ organization, collections }: Company, now: Date): Tuple[] {
  return collections.flatMap(({ id, viewers, sensitive }) => {
    const object: FgaObject = `collection:${id}`
    return [
      { user: `organization:${organization.id}`, relation: 'organization', object },
      ...readers(object, viewers, sensitive, now),
    ]
  })
}

/** The tuples of the sample's folders. */
function folderTuples({ folders }: Company, now: Date): Tuple[] {
  return folders.flatMap(({ id, collection, parent, viewers, sensitive }) => {
    const object: FgaObject = `folder:${id}`
    return [
      { user: `collection:${collection}`, relation: 'filed_in', object },
      ...(parent ? [{ user: parent, relation: 'parent', object }] : []),
      ...readers(object, viewers, sensitive, now),
    ]
  })
}

function readers(object: FgaObject, viewers: readonly Viewer[], sensitive: boolean, now: Date): Tuple[] {
  return [
    ...viewers.map((viewer) => viewerTuple(object, viewer, now)),
    ...(sensitive ? [{ user: 'user:*', relation: 'sensitive', object }] : []),
  ]
}

function viewerTuple(object: FgaObject, viewer: Viewer, now: Date): Tuple {
  if (typeof viewer === 'string') return { user: viewer, relation: 'viewer', object }
  const expires_at = timestamp(dateAfter(now, viewer.expires_in))
  return {
    user: viewer.user,
    relation: 'viewer',
    object,
    condition: { name: 'until', context: { expires_at } },
  }
}
