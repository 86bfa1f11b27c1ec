import { randomUUID } from 'node:crypto'
import type { Directory } from '../../src/directory/directories.ts'
import { startTestIssuer, type TestIssuer, type TokenOptions } from '../support/issuer.ts'
import { openWorld, type World, type WorldOptions } from '../support/world.ts'

/** The service with a trusted issuer of namespace `acme`, and a directory `acme` that brings its people. */
export interface DirectoryWorld extends World {
  readonly issuer: TestIssuer
  /** One request to `/scim/v2` as the directory. */
  scim(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Sent>
  /** Gives the directory a token, in the place of the one it had. */
  renewToken(): Promise<void>
  /** Makes a user keyed by this; gives its id. */
  user(key: string, more?: object): Promise<string>
  /** Makes a group of these ids; gives its id. */
  group(name: string, ...members: readonly string[]): Promise<string>
  /** A token of the issuer for the person of this key. */
  personToken(key: string, options?: TokenOptions): Promise<string>
  /** Who is in a group, as OpenFGA has it. */
  members(group: string): Promise<string[]>
  /** Documents that somebody finds by "travel". */
  found(token: string): Promise<string[]>
}

export interface Sent {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly headers: Headers
}

export interface DirectoryWorldOptions extends WorldOptions {
  readonly keyAttribute?: Directory['keyAttribute']
  /** More issuers that are trusted. */
  readonly trusted?: readonly object[]
}

export async function openDirectoryWorld(options: DirectoryWorldOptions = {}): Promise<DirectoryWorld> {
  const { keyAttribute = 'externalId', trusted = [], env, ...others } = options
  const issuer = await startTestIssuer({ namespace: 'acme', personClients: ['portal'] })
  const world = await openWorld({
    ...others,
    env: { TRUSTED_ISSUERS: JSON.stringify([issuer.entry(), ...trusted]), ...env },
  })
  const { directories, fga } = world.service
  await directories.add({ name: 'acme', namespace: 'acme', prefix: 'acme/', keyAttribute })
  let token = ''
  const renewToken = async () => {
    token = (await directories.issueToken('acme', { days: 30, isOnly: true })).token
  }
  await renewToken()

  const scim: DirectoryWorld['scim'] = async (method, path, body, headers = {}) => {
    const response = await world.call(method, `/scim/v2${path}`, {
      token,
      ...(body !== undefined && { body }),
      headers: { ...(body !== undefined && { 'content-type': 'application/scim+json' }), ...headers },
    })
    const text = await response.text()
    return {
      status: response.status,
      body: text === '' ? {} : JSON.parse(text),
      headers: response.headers,
    }
  }
  const made = async (path: string, body: object): Promise<string> => {
    const answer = await scim('POST', path, body)
    if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`)
    return String(answer.body['id'])
  }
  return {
    ...world,
    issuer,
    scim,
    renewToken,
    user: (key, more = {}) =>
      made('/Users', {
        schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
        userName: `${key}@acme.test`,
        externalId: key,
        active: true,
        ...more,
      }),
    group: (displayName, ...members) =>
      made('/Groups', {
        schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
        displayName,
        members: members.map((value) => ({ value })),
      }),
    personToken: (key, token = {}) =>
      issuer.token({
        sub: key,
        client_id: 'portal',
        ...token,
        overrides: { jti: randomUUID(), ...token.overrides },
      }),
    async members(group) {
      const users: string[] = []
      for await (const { user } of fga.read({ object: `group:acme/${group}`, relation: 'member' }))
        users.push(user)
      return users.sort()
    },
    async found(personToken) {
      const { results } = await world.retrieve(personToken, { query: 'travel' })
      return results.map(({ document_id }) => document_id).sort()
    },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await issuer[Symbol.asyncDispose]()
    },
  }
}

/** A PATCH body. */
export const patch = (...operations: readonly object[]): object => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: operations,
})
