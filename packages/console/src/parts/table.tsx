import type { ComponentChildren } from 'preact'

/** A column: its title, and how a row fills its cell. */
export interface Column<T> {
  readonly title: string
  readonly cell: (row: T) => ComponentChildren
  /** Aligned to the right. */
  readonly isNumber?: boolean
}

/**
 * Rows and columns; on a narrow screen each row is a block in which every value has its column's title. The
 * roles are said aloud, since a table that is shown in another way is none to a screen reader any more.
 */
export function Table<T>({
  caption,
  columns,
  rows,
  keyOf,
}: {
  readonly caption: string
  readonly columns: readonly Column<T>[]
  readonly rows: readonly T[]
  readonly keyOf: (row: T) => string | number
}) {
  return (
    <table role="table">
      <caption>{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(({ title, isNumber }) => (
            <th key={title} scope="col" role="columnheader" class={isNumber ? 'number' : undefined}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row) => (
          <tr key={keyOf(row)} role="row">
            {columns.map(({ title, cell: renderCell, isNumber }) => (
              <td key={title} role="cell" data-title={title} class={isNumber ? 'number' : undefined}>
                <div>{renderCell(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}
