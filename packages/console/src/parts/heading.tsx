import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'

/** The view's one heading. Whoever comes to the view by keyboard or screen reader begins there. */
export function Heading(props: { readonly title: string; readonly children?: ComponentChildren }) {
  const { title, children } = props
  const ref = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${title} · Remit console`
    ref.current?.focus({ preventScroll: true })
    scrollTo(0, 0)
  }, [title])
  return (
    <h1 ref={ref} tabIndex={-1}>
      {children ?? title}
    </h1>
  )
}
