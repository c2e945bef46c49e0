# The image of the server: what the program needs to run, and nothing that only builds it.
#
#   docker build -t backing-image-manager .
#   docker run -d -p 8080:8080 -v /srv/images:/var/lib/longhorn/backing-images backing-image-manager

FROM docker.io/library/node:24-bookworm-slim AS build
WORKDIR /build
# The dependencies first: this layer is built again only when the lockfile changes.
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml .npmrc ./
RUN printf '#!/bin/sh\nexec npx -y %s "$@"\n' "$(node -p 'require("./package.json").packageManager')" \
      > /usr/local/bin/pnpm && chmod 755 /usr/local/bin/pnpm \
    && pnpm fetch
COPY tsconfig.json tsconfig.base.json ./
COPY packages packages
# Then without what runs nowhere in production: tests, what they use, sources, declarations, maps.
RUN pnpm install --frozen-lockfile --offline \
    && pnpm exec tsc -b \
    && find packages -type f \( -path '*/src/*' -o -path '*/testing/*' -o -path '*/durability/*' \
      -o -name '*.test.js' -o -name '*.d.ts' -o -name '*.map' -o -name '.tsbuildinfo' \) -delete \
    && find packages -type d -empty -delete \
    && pnpm --filter @backing-image/server deploy --prod --offline \
      --config.inject-workspace-packages=true /app \
    # What protobufjs brings along for who builds with it.
    && rm -rf /app/node_modules/.pnpm/@types+* \
    && find /app/node_modules -xtype l -delete

# The mount helper for NFS_SERVER, qemu-img for exports of volumes as qcow2, cryptsetup for the headers of
# encrypted images, and the libraries that Debian's slim image lacks: 12 MB, where the whole packages would
# be over 50. Their daemons and setuid bits have no use here.
FROM docker.io/library/debian:bookworm-slim AS tools
RUN find /usr/lib -name '*.so.*' > /tmp/there \
    && apt-get update && apt-get install -y --no-install-recommends \
      nfs-common qemu-utils cryptsetup-bin \
    && mkdir /tools \
    && ldd /usr/sbin/mount.nfs /usr/bin/qemu-img /usr/sbin/cryptsetup \
      | awk '$2 == "=>" { sub("^/lib", "/usr/lib", $3); print $3 }' \
      | sort -u | grep -vxFf /tmp/there \
      | xargs cp -L --parents -t /tools /usr/sbin/mount.nfs /etc/netconfig /usr/bin/qemu-img \
        /usr/sbin/cryptsetup \
    && for name in mount.nfs4 umount.nfs umount.nfs4; do ln -s mount.nfs "/tools/usr/sbin/$name"; done

# Debian and the one binary of Node.js: npm and yarn have no use here.
FROM docker.io/library/debian:bookworm-slim
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=tools /tools /
COPY --from=build /app /app
COPY docker/entrypoint.sh /usr/local/bin/entrypoint
RUN ln -s /app/bin/backing-image-manager.cjs /usr/local/bin/backing-image-manager
ENV NODE_ENV=production HOST=0.0.0.0 UV_THREADPOOL_SIZE=16
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
  CMD ["backing-image-manager", "health"]
# No USER: the entrypoint gives the storage folder to user 1000 and runs the server as that user; only
# where the server is to mount an export itself (NFS_SERVER) it stays root.
ENTRYPOINT ["entrypoint"]
CMD ["serve"]
