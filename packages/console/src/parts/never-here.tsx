const kinds: Readonly<Record<string, string>> = { user: 'person' }

/** Ids that nothing here has: said apart from "nobody" and "nothing", which a mistyped id would else look like. */
export const NeverHere = ({ ids }: { readonly ids: readonly string[] }) =>
  ids.length === 0 ? null : (
    <div class="problem" role="alert">
      {ids.map((id) => {
        const [type = '', bare = ''] = id.split(/:(.*)/s)
        return (
          <p key={id}>
            No {kinds[type] ?? type} with the id <code>{bare}</code> was ever here. Check the spelling.
          </p>
        )
      })}
    </div>
  )
