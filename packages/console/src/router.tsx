import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'

/** Where the person is, below `/console`. */
export interface Route {
  /** `/record/t_1` */
  readonly path: string
  readonly query: URLSearchParams
}

/** The address of a path, `/console` included. */
export const addressOf = (path: string): string => (path === '/' ? '/console' : `/console${path}`)

const moved = 'remit-moved'

/** Shows another path, without loading the page again. */
export function go(path: string, { replace = false } = {}): void {
  history[replace ? 'replaceState' : 'pushState'](null, '', addressOf(path))
  dispatchEvent(new Event(moved))
}

/** The route that is shown; the component renders again when it changes. */
export function useRoute(): Route {
  const [route, setRoute] = useState(currentRoute)
  useEffect(() => {
    const follow = (): void => setRoute(currentRoute())
    addEventListener('popstate', follow)
    addEventListener(moved, follow)
    return () => {
      removeEventListener('popstate', follow)
      removeEventListener(moved, follow)
    }
  }, [])
  return route
}

function currentRoute(): Route {
  const path = location.pathname.replace(/^\/console/, '').replace(/\/$/, '')
  return { path: path === '' ? '/' : path, query: new URLSearchParams(location.search) }
}

/** A link within the console: a real one, so that it can be opened in a tab of its own. */
export function Link(props: {
  readonly to: string
  readonly children: ComponentChildren
  readonly current?: boolean
  readonly class?: string
}) {
  const { to: path, children, current = false } = props
  return (
    <a
      href={addressOf(path)}
      class={props.class}
      aria-current={current ? 'page' : undefined}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
        event.preventDefault()
        go(path)
      }}
    >
      {children}
    </a>
  )
}

/** A path with a query, without what is empty. */
export function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const filledIn = Object.entries(query).filter((pair): pair is [string, string] => (pair[1] ?? '') !== '')
  return filledIn.length === 0 ? path : `${path}?${new URLSearchParams(filledIn)}`
}
