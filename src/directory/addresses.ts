import type { Sql } from '../store/sql.ts'

/** An address, and the directory whose word counts for its domain. */
export interface AddressAt {
  readonly directory: string
  /** In small letters: see `plainAddress`. */
  readonly address: string
}

/** Somebody to whom the directory gave the address, now or at any time. */
export interface AddressHolder {
  readonly address: string
  /** `user:acme/anne`. */
  readonly subject: string
  readonly isActive: boolean
  /** It is their primary address, or their only one, now. */
  readonly isCurrent: boolean
}

/** What directories say of addresses. */
export interface AddressBook {
  /**
   * Everybody who ever had one of these, deleted people included. None where there is no such directory, or
   * its namespace is another issuer's by now. NOT checked: whether anybody reads mail there, which is the
   * directory's word.
   */
  holders(sql: Sql, wanted: readonly AddressAt[]): Promise<readonly AddressHolder[]>
  /** The same people stay as they are until this transaction ends. */
  hold(sql: Sql, wanted: readonly AddressAt[]): Promise<void>
}

export interface AddressBookDeps {
  readonly trustedIssuers: readonly { readonly issuer: string; readonly namespace: string }[]
}

/** Reads the rows that the feeders of directories write. */
export function createAddressBook({ trustedIssuers }: AddressBookDeps): AddressBook {
  const valuesOf = (wanted: readonly AddressAt[]) => [
    wanted.map(({ directory }) => directory),
    wanted.map(({ address }) => address),
    trustedIssuers.map(({ namespace }) => namespace),
    trustedIssuers.map(({ issuer }) => issuer),
  ]
  return {
    holders: (sql, wanted) =>
      sql.query<AddressHolder>(
        `select wanted.address, 'user:' || users.account as subject, users.is_active as "isActive",
           coalesce(directory_address(users.attributes) = wanted.address, false) as "isCurrent" ${from}`,
        valuesOf(wanted),
      ),
    async hold(sql, wanted) {
      await sql.query(`select ${from} order by users.id for share of users`, valuesOf(wanted))
    },
  }
}

const from = `from unnest($1::text[], $2::text[]) as wanted (directory, address)
  join directories on directories.name = wanted.directory
  join unnest($3::text[], $4::text[]) as trusted (namespace, issuer)
    on trusted.namespace = directories.namespace and trusted.issuer = directories.issuer
  join directory_addresses known on known.directory = wanted.directory
    and known.digest = encode(sha256(convert_to(wanted.address, 'UTF8')), 'hex')
  join directory_users users on users.directory = known.directory and users.account = known.account`
