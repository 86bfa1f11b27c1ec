import { type LoadHook, type ResolveHook, stripTypeScriptTypes } from 'node:module'

/** Jazzer takes what does not end as JavaScript does for a name without its end. */
export const resolve: ResolveHook = (specifier, context, nextResolve) =>
  nextResolve(specifier.replace(/\.ts\.js$/, '.ts'), context)

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context)
  if (loaded.format !== 'module-typescript' || !loaded.source) return loaded
  const source = stripTypeScriptTypes(Buffer.from(loaded.source as Uint8Array).toString('utf8'))
  return { ...loaded, format: 'module', source }
}
