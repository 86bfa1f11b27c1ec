import type { ComponentChildren } from 'preact'
import type { Route } from './router.tsx'

/** What one entry of the navigation leads to. */
export interface Section {
  readonly path: string
  readonly title: string
  /** One of these roles: without, the API answers nothing there. */
  readonly roles: readonly ('security.read' | 'security.write' | 'agents.write')[]
  /** `rest`: segments of the path below its own. */
  readonly show: (route: Route, segments: readonly string[]) => ComponentChildren
}
