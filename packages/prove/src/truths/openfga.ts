import type { Truth } from '../truth.ts'

export interface OpenFgaOptions {
  readonly url: string
  readonly store: string
  /** Default: the store's newest. */
  readonly model?: string
  readonly token?: string
  /** `can_read` */
  readonly relation: string
  /** `user:` */
  readonly personPrefix: string
  /** `document:` */
  readonly documentPrefix: string
}

/**
 * Asks an OpenFGA store who may read what by Check, with higher consistency, and by Read who is anybody.
 *
 * @throws where the key can write. A proxy that passes Read, Check and ReadChanges only has to stand before a
 * store whose keys cannot be narrowed.
 */
export async function openFgaTruth(options: OpenFgaOptions): Promise<Truth> {
  const { url, store, model, token, relation, personPrefix, documentPrefix } = options
  const ask = (path: string, body: object): Promise<Response> =>
    fetch(`${url}/stores/${encodeURIComponent(store)}/${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    }).catch((error: unknown) => {
      throw new Error(`OpenFGA does not answer at ${url}: --openfga.`, { cause: error })
    })

  // It takes away a tuple that nobody has, so it changes nothing. Whoever may not write is turned away before
  // that is looked at.
  const harmless = {
    user: `${personPrefix}remit-prove`,
    relation,
    object: `${documentPrefix}remit-prove-never-was`,
  }
  const { status } = await ask('write', { deletes: { tuple_keys: [harmless] } })
  if (![401, 403, 404, 405, 501].includes(status))
    throw new Error(
      `This key of OpenFGA can write (a harmless Write was answered ${status}). Put a proxy before it that passes Read, Check and ReadChanges only: remit-prove openfga-proxy.`,
    )

  let users: Promise<ReadonlySet<string>> | undefined
  /** Of all tuples, since a person may read through a group or a folder alone; not of what a run planted. */
  async function readUsers(): Promise<ReadonlySet<string>> {
    const found = new Set<string>()
    for (let token = ''; ; ) {
      const response = await ask('read', {
        page_size: 100,
        ...(token !== '' && { continuation_token: token }),
      })
      if (!response.ok) throw new Error(`OpenFGA answered ${response.status} to a Read.`)
      const { tuples = [], continuation_token: next = '' } = (await response.json()) as {
        readonly tuples?: readonly { readonly key: { readonly user: string; readonly object: string } }[]
        readonly continuation_token?: string
      }
      for (const { key } of tuples) if (!key.object.startsWith(`${documentPrefix}prove-`)) found.add(key.user)
      if (next === '') return found
      token = next
    }
  }

  return {
    async mayRead(person, document) {
      const response = await ask('check', {
        tuple_key: { user: `${personPrefix}${person}`, relation, object: `${documentPrefix}${document}` },
        consistency: 'HIGHER_CONSISTENCY',
        ...(model !== undefined && { authorization_model_id: model }),
      })
      if (!response.ok) throw new Error(`OpenFGA answered ${response.status} to a Check.`)
      return ((await response.json()) as { readonly allowed?: boolean }).allowed === true
    },
    async knows(person) {
      users ??= readUsers()
      return (await users).has(`${personPrefix}${person}`)
    },
  }
}
